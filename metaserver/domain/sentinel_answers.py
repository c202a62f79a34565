"""What each Sentinel says about each shard, as docs/api.md shows it."""

from __future__ import annotations

from typing import Any

from metaserver.domain.sentinel_view import MonitoredShard, SentinelView, majority
from metaserver.domain.shard_state import views_of
from metaserver.domain.status import Observation, shard_names


def sentinel_answers(seen: Observation) -> dict[str, Any]:
    """Return what was observed of the Sentinels of a pool."""
    document, names = seen.state.document, shard_names(seen.state)
    return {
        "pool": document.pool,
        "version": document.version,
        "at": seen.at,
        "shards": [
            {"shard": name, "master": majority([v.master for v in views_of(name, seen.views)])}
            for name in names
        ],
        "sentinels": [_answers(view, names) for view in seen.views.values()],
    }


def _answers(view: SentinelView, names: tuple[str, ...]) -> dict[str, Any]:
    up = view.error is None
    return {
        "address": view.address,
        "up": up,
        "error": view.error,
        "shards": [_answer(name, view.shards.get(name)) for name in names] if up else [],
    }


def _answer(name: str, said: MonitoredShard | None) -> dict[str, Any]:
    if said is None:
        unknown = dict.fromkeys(("master", "quorum", "usable", "replicas", "other_sentinels"))
        return {"shard": name, "monitored": False, "flags": [], **unknown}
    return {
        "shard": name,
        "monitored": True,
        "master": said.master,
        "flags": sorted(said.flags),
        "quorum": said.quorum,
        "usable": said.usable,
        "replicas": len(said.replicas),
        "other_sentinels": said.sentinels - 1,
    }
