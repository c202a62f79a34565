"""Turns what the metaserver says of the pool's quality into what its page shows."""

from __future__ import annotations

from dashboard.upstream import Json
from dashboard.view_model import Felt, FeltPool


def felt_pool(quality: Json | None) -> FeltPool | None:
    """Return what apps feel of a pool; None if the metaserver has not said it yet."""
    if quality is None:
        return None
    return FeltPool(
        total=_felt(quality["total"]),
        shards={str(each["shard"]): _felt(each) for each in quality["shards"]},
        reporting=int(quality["reporting"]),
        silent=tuple(quality["silent"]),
    )


def _felt(figures: Json) -> Felt:
    counts, rate = figures["errors"], float(figures["errors_per_second"])
    failed = sum(counts.values())
    breakers = figures["breakers"]
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
