"""The schemas of the history of pools."""

from __future__ import annotations

from metaserver.api.contract.schema_parts import (
    NAME,
    RATIO,
    TIME,
    Schema,
    array,
    nullable,
    number,
    reply,
)


def _level(description: str, kind: str = "integer") -> Schema:
    return nullable(number(description, kind, minimum=0))


HISTORY_REPLIES: dict[str, Schema] = {
    "History": reply(
        pool=NAME,
        shard=nullable(NAME),
        step=number("seconds of each point", minimum=1),
        since=TIME,
        until=TIME,
        known_since=nullable(TIME),
        points=array(
            reply(
                at=TIME,
                ops_per_second=_level("commands of the master, or of all masters", "number"),
                ops_peak=_level("the most of five seconds", "number"),
                hit_ratio=nullable(RATIO),
                evictions_per_second=_level("evicted keys", "number"),
                used_memory=_level("bytes"),
                maxmemory=_level("bytes; 0 for no bound"),
                keys=_level("of the master, or of all masters"),
                clients=_level("connections of the master; of a pool, its live clients"),
                lag_bytes=_level("of the replica that is furthest behind"),
                lag_seconds=_level("of the replica that has not heard its master for longest"),
                calls_per_second=_level("answered, as apps report", "number"),
                errors_per_second=_level("failed, as apps report", "number"),
                p50=_level("seconds within which 50 % of the calls were done", "number"),
                p99=_level("seconds within which 99 % of the calls were done", "number"),
            )
        ),
    ),
}
