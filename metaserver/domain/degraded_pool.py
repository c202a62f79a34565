"""What is wrong with the shards of a pool, as warnings for those who are about to change it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

_NAMED = 12  # shards that a warning names


def degraded_warnings(shards: Sequence[Mapping[str, Any]], moving: Collection[str]) -> list[str]:
    """Return a warning for each fault, those of shards that are down first.

    Shards with the same fault share a warning.

    Args:
        shards: as the status document has them.
        moving: the shards that keys are to move from or to.
    """
    alike: dict[tuple[str, bool, str], list[Mapping[str, Any]]] = {}
    for state in ("down", "degraded"):
        for shard in shards:
            if shard["state"] == state:
                fault = (state, shard["name"] in moving, str(shard["reason"] or "no reason given"))
                alike.setdefault(fault, []).append(shard)
    return [
        f"{_named(found)} {state}: {_meaning(found, state, moves)} ({reason})"
        for (state, moves, reason), found in alike.items()
    ]


def _named(shards: Sequence[Mapping[str, Any]]) -> str:
    names = [str(shard["name"]) for shard in shards]
    if len(names) == 1:
        return f"shard {names[0]} is"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"shards {', '.join(names[:_NAMED])}{more} are"


def _meaning(shards: Sequence[Mapping[str, Any]], state: str, moves: bool) -> str:
    """Say what the state of shards means for a change.

    Args:
        moves: whether keys are to move from or to them.
    """
    it, them, serves = ("it", "it", "serves") if len(shards) == 1 else ("they", "them", "serve")
    if state == "degraded":
        when = " while keys move" if moves else ""
        return f"{it} {serves}, and one more fault{when} may take {them} down"
    if moves:
        return f"no key moves from or to {them}, and the resize waits until {it} {serves} again"
    return f"{sum(shard['share'] for shard in shards):.1%} of the keys are not served"
