"""The schemas of replies."""

from __future__ import annotations

from metaserver.api.contract.schema_parts import (
    ADDRESS,
    COUNT,
    NAME,
    RATIO,
    TIME,
    Schema,
    array,
    nullable,
    number,
    ref,
    reply,
    text,
)

_FELT: dict[str, Schema] = {
    "calls": number("calls that were answered", minimum=0),
    "calls_per_second": number("answered", "number", minimum=0),
    "errors": {"type": "object", "additionalProperties": number("failed calls, by class")},
    "errors_per_second": number("failed", "number", minimum=0),
    **{
        name: nullable(number(f"seconds within which {share} of the calls were done", "number"))
        for name, share in (("p50", "50 %"), ("p99", "99 %"), ("max", "all"))
    },
}
_BREAKERS: Schema = {
    "type": "object",
    "additionalProperties": number("clients whose breaker is so now; closed ones are not counted"),
}

POOL_REPLIES: dict[str, Schema] = {
    "Pools": reply(
        pools=array(
            reply(
                pool=NAME,
                version=COUNT,
                strategy=text("how keys find their shard"),
                shards=COUNT,
                health={"enum": ["ok", "degraded", "down"]},
            )
        )
    ),
    "Document": reply(
        format={"const": 1},
        pool=NAME,
        version=number("rises with every change", minimum=1),
        placement={"type": "object"},
        migration={"type": ["object", "null"]},
        sentinels=array(ADDRESS),
        settings={"type": "object"},
    ),
    "Change": reply(
        dry_run={"type": "boolean"},
        pool=NAME,
        version_before=COUNT,
        version_after=COUNT,
        summary=text("the change in one line"),
        steps=array(text("what was done, or would be")),
        moves=array(reply(source=NAME, target=NAME, slots=COUNT, share=RATIO)),
        moved_slots=COUNT,
        moved_share=RATIO,
        keys_moved={"type": ["integer", "null"], "description": "an estimate"},
        destroys=array(text("what is lost")),
        warnings=array(text("what to look at")),
        resize=nullable(ref("Resize")),
        migration=nullable(ref("MigrationPlan")),
        document=nullable(ref("Document")),
    ),
    "MigrationPlan": reply(
        keys=nullable(ref("Estimate")),
        bytes=nullable(ref("Estimate")),
        pairs=array(
            reply(
                source=NAME,
                target=NAME,
                keys=nullable(ref("Estimate")),
                bytes=nullable(ref("Estimate")),
            )
        ),
        sources=array(
            reply(
                shard=NAME,
                keys=nullable(COUNT),
                looked_at=number("of its keys", minimum=0),
                complete={"type": "boolean", "description": "whether that was all of them"},
                error=nullable(text("why nothing is known")),
            )
        ),
        big_key=number("bytes from which on a key is named", minimum=1),
        big_keys=array(
            reply(
                source=NAME,
                target=NAME,
                database=COUNT,
                key=text("its name, the first 200 bytes"),
                type=text("as TYPE tells it"),
                bytes=COUNT,
                blocks_seconds=number("for which its shards serve nobody", "number", minimum=0),
            )
        ),
        seconds=nullable(
            reply(
                **{
                    name: number("that moving all keys takes", "number", minimum=0)
                    for name in ("estimate", "low", "high")
                }
            )
        ),
        rests_on=text("what this estimate was made from"),
        feel=array(text("what clients will notice")),
        memory=array(
            reply(
                shard=NAME,
                used=nullable(number("bytes, by now", minimum=0)),
                after=nullable(ref("Estimate")),
                maxmemory=nullable(number("bytes; 0 for no bound", minimum=0)),
                policy=nullable(text("its maxmemory-policy")),
                error=nullable(text("why nothing is known")),
            )
        ),
    ),
    "Estimate": reply(
        estimate=COUNT,
        low=number("the bounds hold in 95 % of all cases", minimum=0),
        high=number("equal to the estimate and to low where that is exact", minimum=0),
    ),
    "Resize": reply(
        id=number("the version of the document that began it", minimum=0),
        state={"enum": ["clearing", "preparing", "paused", "moving", "invalid"]},
        attempt=number("how often clients were asked to hold so far", minimum=0),
        summary=text("the change in one line"),
        actor=text("who has asked for it"),
        began=nullable(TIME),
        detail=text("what it waits for"),
        strategy={"enum": ["drop", "move"]},
        back={"type": "boolean", "description": "whether it was given up, and keys move back"},
        stage=number("of a move, from 0 on", minimum=0),
        stages=number("of a move", minimum=1),
        done=array(text("a shard that no key is left to move from in this stage")),
        lost=array(text("a shard whose data is lost, as an operator has said")),
        moved=number("how many keys the leader has moved", minimum=0),
        left=nullable(number("how many have still to move in this stage, estimated", minimum=0)),
        share=nullable(number("how much of this stage is done, estimated", "number", minimum=0)),
        rate=number("keys a second, over the last seconds", "number", minimum=0),
        seconds_left=nullable(number("of this stage, estimated", "number", minimum=0)),
        longest_hold=number("seconds for which commands were held at most", "number", minimum=0),
        sources=array(ref("MoveSource")),
        paused={"type": "boolean", "description": "whether an operator has paused the move"},
        keys_per_second=number("how many keys are moved at most; 0 for no bound", minimum=0),
        max_latency=number("milliseconds for a shard to answer; 0 for no bound", minimum=0),
    ),
    "MoveSource": reply(
        shard=NAME,
        to=array(text("a shard that they go to")),
        state={"enum": ["moving", "waits", "done"]},
        moved=nullable(number("how many keys the leader has moved from it", minimum=0)),
        bytes_moved=nullable(number("the memory that they took, estimated", minimum=0)),
        left=nullable(number("how many have still to leave it, estimated", minimum=0)),
        detail=text("why it waits"),
    ),
    "ResizeChange": reply(
        dry_run={"type": "boolean"},
        pool=NAME,
        summary=text("in one line"),
        steps=array(text("what was done, or would be")),
        warnings=array(text("what to look at")),
    ),
    "Failover": reply(
        dry_run={"type": "boolean"},
        pool=NAME,
        shard=NAME,
        summary=text("the failover in one line"),
        master_before=ADDRESS,
        master_after=ADDRESS,
        lag_bytes={"type": ["integer", "null"], "description": "of the new master, before"},
        candidates=array(reply(address=ADDRESS, lag_bytes=COUNT)),
        steps=array(text("what was done, or would be")),
        warnings=array(text("what to look at")),
        timings={"type": ["object", "null"], "description": "in ms, null for a dry run"},
    ),
    "Forgotten": reply(
        dry_run={"type": "boolean"},
        pool=NAME,
        shard=NAME,
        summary=text("in one line"),
        steps=array(text("what was done, or would be")),
        warnings=array(text("what to look at")),
    ),
    "Status": reply(
        pool=NAME,
        version=COUNT,
        at=TIME,
        health={"enum": ["ok", "degraded", "down"]},
        shards=array(ref("Shard")),
        sentinels=array(reply(address=ADDRESS, up={"type": "boolean"})),
        resize=nullable(ref("Resize")),
        fenced=array(text("a client that has not acknowledged a resize")),
        sweeps=array(
            reply(
                shard=NAME,
                state={"enum": ["waiting", "running", "failed"]},
                version=number("that live clients have to act on before it begins", minimum=0),
                drained={"type": "boolean"},
            )
        ),
        clients=COUNT,
        observer={"type": "boolean"},
    ),
    "Findings": reply(
        pool=NAME,
        version=COUNT,
        at=TIME,
        findings=array(
            reply(
                rule=text("its name in docs/doctor.md"),
                severity={"enum": ["error", "warning", "note"]},
                shard=nullable(NAME),
                at=nullable(text("the instance or Sentinel, host:port; null: the pool")),
                configured=text("the parameter and its value"),
                impact=text("what follows"),
                next_step=text("the command to type, or what to do"),
            )
        ),
        not_checked=array(
            reply(
                at=array(text("an address, or a shard")),
                reason=text("why nothing is known there"),
                rules=array(text("a rule that could not be applied")),
            )
        ),
    ),
    "Sentinels": reply(
        pool=NAME,
        version=COUNT,
        at=TIME,
        shards=array(
            reply(
                shard=NAME,
                master=nullable(text("the address that most of those that monitor it name")),
            )
        ),
        sentinels=array(
            reply(
                address=ADDRESS,
                up={"type": "boolean"},
                error=nullable(text("why it does not answer")),
                shards=array(ref("SentinelOnShard")),
            )
        ),
    ),
    "SentinelOnShard": reply(
        shard=NAME,
        monitored={"type": "boolean"},
        master=nullable(text("the address that it gives to clients")),
        flags=array(text("such as s_down: it takes the master for down; o_down: so do others")),
        quorum=nullable(COUNT),
        usable=nullable({"type": "boolean", "description": "what SENTINEL CKQUORUM says"}),
        replicas=nullable(number("that it knows, dead ones included", minimum=0)),
        other_sentinels=nullable(number("that it knows of the shard", minimum=0)),
    ),
    "Shards": reply(shards=array(ref("Shard"))),
    "Shard": reply(
        name=NAME,
        weight={"type": ["integer", "null"]},
        slots=nullable(COUNT),
        share=RATIO,
        state={"enum": ["up", "failing over", "joining", "degraded", "down", "draining"]},
        reason={"type": ["string", "null"]},
        warnings=array(text("what to know though it serves")),
        master={"type": ["object", "null"]},
        replicas=array({"type": "object"}),
        sentinel={"type": "object"},
    ),
    "SlowLog": reply(
        instances=array(
            reply(
                instance=ADDRESS,
                role={"enum": ["master", "replica"]},
                error=nullable(text("why it did not tell")),
                commands=array(
                    reply(
                        id=COUNT,
                        at=TIME,
                        seconds=number("how long it ran", "number", minimum=0),
                        command=array(text("the command, then its arguments, as Redis cuts them")),
                        client=text("the address of who sent it"),
                        client_name=text("its CLIENT SETNAME"),
                    )
                ),
            )
        )
    ),
    "Clients": reply(clients=array(ref("Client"))),
    "Client": reply(
        client=text("its id"),
        version=number("the version that it acts on; 0 for none", minimum=0),
        lease={"enum": ["running", "over"]},
        seen=nullable(TIME),
        address=nullable(text("where it called from")),
        sdk=nullable(text("name and version of its library")),
        host=nullable(text("the machine that it says it runs on")),
        process=nullable(COUNT),
        app=nullable(text("the app's own name for it: its client_name")),
        metaserver=text("the metaserver that it watches, host:port"),
        settings={
            "type": "object",
            "description": "settings of the pool that it overrides, in words",
            "additionalProperties": {"type": "string"},
        },
        stats={"type": ["object", "null"]},
    ),
    "Convergence": reply(
        pool=NAME,
        version=COUNT,
        converged={"type": "boolean"},
        clients=COUNT,
        acknowledged=COUNT,
        versions=array(reply(version=number("acknowledged", minimum=0), clients=COUNT)),
        lagging=COUNT,
        lease_over=COUNT,
        laggards=array(ref("Client")),
    ),
    "Quality": reply(
        pool=NAME,
        seconds=COUNT,
        since=TIME,
        reporting=number("clients that have reported within the last minute", minimum=0),
        total=reply(**_FELT, breakers=_BREAKERS),
        shards=array(reply(shard=NAME, **_FELT, breakers=_BREAKERS)),
        minutes=array(reply(at=TIME, shard=NAME, **_FELT)),
        clients=array(reply(client=text("its id"), **_FELT)),
        silent=array(text("a metaserver that has not told lately what its clients report")),
    ),
    "Watch": reply(
        changed={"type": "boolean"},
        document=nullable(ref("Document")),
        lease=number("seconds for which the client counts as live", "number"),
    ),
}

OTHER_REPLIES: dict[str, Schema] = {
    "Events": reply(events=array(ref("Event"))),
    "Event": reply(
        id=COUNT,
        at=TIME,
        actor=text("token:NAME, or system"),
        action=text("what happened"),
        pool={"type": ["string", "null"]},
        target={"type": ["string", "null"]},
        detail=text("in words"),
        before={"type": ["object", "null"]},
        after={"type": ["object", "null"]},
    ),
    "Tokens": reply(tokens=array(ref("Token"))),
    "Token": reply(
        id=text("for DELETE /v1/tokens/ID"),
        name=NAME,
        role={"enum": ["read", "admin"]},
        pools=nullable(array(NAME)),
        created=TIME,
        expires=nullable(TIME),
        former_until=nullable(TIME),
        last_used=nullable(TIME),
    ),
    "NewToken": reply(
        id=text("for DELETE /v1/tokens/ID"),
        name=NAME,
        role={"enum": ["read", "admin"]},
        pools=nullable(array(NAME)),
        expires=nullable(TIME),
        token=text("the bearer token; shown this once"),
    ),
    "RotatedToken": reply(
        id=text("for DELETE /v1/tokens/ID"),
        name=NAME,
        role={"enum": ["read", "admin"]},
        pools=nullable(array(NAME)),
        expires=nullable(TIME),
        token=text("the bearer token; shown this once"),
        former_until=TIME,
    ),
    "Backup": reply(
        format={"const": 1},
        taken=TIME,
        pools=array(reply(document=ref("Document"), masters={"type": "object"})),
        tokens=array(reply(name=NAME, role={"enum": ["read", "admin"]}, digest=text("SHA-256"))),
        sha256=text("of the rest"),
    ),
    "Restored": reply(
        dry_run={"type": "boolean"},
        items=array(
            reply(
                kind={"enum": ["pool", "token"]},
                name=NAME,
                version=nullable(COUNT),
                outcome={"enum": ["restored", "kept"]},
                detail=text("in words"),
            )
        ),
    ),
    "Metaservers": reply(
        metaservers=array(
            reply(
                address=ADDRESS,
                owner=text("host:pid:start time of the process"),
                since=TIME,
                leads={"type": "boolean"},
                self={"type": "boolean", "description": "the process that answers"},
            )
        ),
        leader=nullable(reply(owner=text("as above"), epoch=COUNT, since=TIME)),
    ),
    "Probe": reply(status={"const": "ok"}),
    "Leader": reply(status={"const": "ok"}, epoch=COUNT, since=TIME),
    "Problem": reply(
        type=text("urn:cachemesh:problem:CODE"),
        title=text("the problem in general"),
        status=number("HTTP status"),
        detail=text("this problem"),
        code=text("machine-readable name"),
        next={"type": ["string", "null"], "description": "what to do about it"},
        instance=text("path of the request"),
    ),
}
