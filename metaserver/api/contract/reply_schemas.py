"""The schemas of replies, but for those to changes."""

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
_OWNER: Schema = {"enum": ["app", "metaserver", "sentinel", "replica", "master", "other"]}
_OPEN_NAME = text("the app's own name, its client_name; of other software its name or library")
_CONNECTION: Schema = reply(
    id=number("by which CLIENT KILL ends it", minimum=0),
    owner=_OWNER,
    name=_OPEN_NAME,
    client=nullable(text("the client's id")),
    address=text("where it comes from"),
    user=text("that it has logged in as"),
    command=text("its last one"),
    age_seconds=COUNT,
    idle_seconds=COUNT,
    output_bytes=number("of replies and messages that it has not taken yet", minimum=0),
    blocked={"type": "boolean", "description": "whether a command of it waits, as BLPOP does"},
    subscribed=number("to how many channels and patterns", minimum=0),
)

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
    "Status": reply(
        pool=NAME,
        version=COUNT,
        at=TIME,
        health={"enum": ["ok", "degraded", "down"]},
        pause=nullable(ref("Pause")),
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
    "Connections": reply(
        instance=nullable(ADDRESS),
        error=nullable(text("why it did not tell")),
        connections=COUNT,
        groups=array(
            reply(
                owner=_OWNER,
                name=_OPEN_NAME,
                connections=COUNT,
                clients=number("of the pool, that they are of", minimum=0),
                hosts=number("that they come from", minimum=0),
                users=array(text("that some have logged in as")),
                idle_seconds=number("of the one that is idle longest", minimum=0),
                output_bytes=number("of all together", minimum=0),
                blocked=number("in which a command waits", minimum=0),
                subscribed=number("that have subscribed", minimum=0),
            )
        ),
        groups_left_out=COUNT,
        idle=array(_CONNECTION),
        large_output=array(_CONNECTION),
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
    "OwnToken": reply(
        id=text("for DELETE /v1/tokens/ID"),
        name=NAME,
        role={"enum": ["read", "admin"]},
        pools=nullable(array(NAME)),
        expires=nullable(TIME),
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
