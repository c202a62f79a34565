"""Turns what the metaserver says of the pool's quality into what its page shows."""

from __future__ import annotations

from dashboard.upstream import Json
from dashboard.view_model import Felt, FeltPool


def felt_pool(quality: Json | None) -> FeltPool | None:
    """Return what apps feel of a pool; None if the metaserver has not said it yet."""
    if quality is None:
        return None
    return FeltPool(
        total=felt_of(quality["total"]),
        shards={str(each["shard"]): felt_of(each) for each in quality["shards"]},
        reporting=int(quality["reporting"]),
        silent=tuple(quality["silent"]),
    )


def felt_of(figures: Json) -> Felt:
    """Return what was felt of all shards, of one, or by one client, whose breakers nobody tells."""
    counts, rate = figures["errors"], float(figures["errors_per_second"])
    failed = sum(counts.values())
    breakers = figures.get("breakers", {})
    return Felt(
        calls=float(figures["calls_per_second"]),
        errors=rate,
        classes=tuple(
            (kind, rate * count / failed)
            for kind, count in sorted(counts.items(), key=lambda item: -item[1])
        ),
        p50=figures["p50"],
        p99=figures["p99"],
        open=int(breakers.get("open", 0)),
        half_open=int(breakers.get("half-open", 0)),
    )
