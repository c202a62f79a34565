"""The schemas of replies to changes: what was done, or would be, and how far that is."""

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

CHANGE_REPLIES: dict[str, Schema] = {
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
    "PauseChange": reply(
        dry_run={"type": "boolean"},
        pool=NAME,
        summary=text("in one line"),
        steps=array(text("what was done, or would be")),
        warnings=array(text("what to look at")),
        pause=nullable(ref("Pause")),
    ),
    "Pause": reply(
        state={
            "enum": ["pausing", "paused"],
            "description": "pausing: a step of the resize is ended first, within seconds",
        },
        by=text("who has paused the pool, as in an event"),
        since=TIME,
        reason=text("why, in the words of who did; empty if none were given"),
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
}
