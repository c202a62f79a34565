"""Giving up on a drained shard whose instance does not come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from metaserver.domain.errors import Problem
from metaserver.loops.repair import end_drained
from metaserver.service import registration
from metaserver.service.context import Control, log
from metaserver.store import NewEvent, PoolState, Sweep


@dataclass(frozen=True)
class Forgotten:
    """What giving up did, or with `dry_run` would do."""

    dry_run: bool
    pool: str
    shard: str
    summary: str
    steps: Sequence[str]
    warnings: Sequence[str]

    def to_dict(self) -> dict[str, object]:
        """As docs/api.md shows it."""
        return asdict(self)


def forget(
    control: Control, actor: str, pool: str, shard: str, *, dry_run: bool = False
) -> Forgotten:
    """Take the failed sweep of a drained shard out of the store; Sentinels forget the shard.

    Raises:
        Problem: pool-not-found; sweep-not-found; sweep-needed while it may still succeed, or if
            the shard is in the pool: keys that it does not own would be served again;
            resize-in-progress if something else is just being done to the shard.
        StorageError: nothing was changed.
    """
    state = control.state(pool)
    sweep = _given_up(state, shard)
    where = sweep.master or "its master"
    count = len(state.document.sentinels)
    result = Forgotten(
        dry_run,
        pool,
        shard,
        f"forget drained shard {shard}",
        [f"no longer wait for {where}", f"SENTINEL REMOVE {shard} on {count} Sentinels"],
        [f"{where} may still hold keys of pool {pool}: empty it before it is used again"],
    )
    if dry_run:
        return result
    event = NewEvent("sweep.forgotten", actor, pool, shard, f"{result.summary}; {sweep.detail}")
    sentinels = state.document.sentinels
    intent = end_drained(control.store, sweep, sweep.master or "", sentinels, event)
    if intent is None:
        raise _no_sweep(pool, shard)
    log.info("%s by %s: %s", event.action, event.actor, event.detail)
    control.changed()
    late = registration.unregister(control, [intent])
    return Forgotten(dry_run, pool, shard, result.summary, result.steps, [*result.warnings, *late])


def _given_up(state: PoolState, shard: str) -> Sweep:
    sweep = next((each for each in state.sweeps if each.shard == shard), None)
    if sweep is None and shard in state.document.placement.names:
        raise Problem(
            "sweep-needed",
            f"Shard {shard!r} is in pool {state.document.pool!r}: there is nothing to give up",
            "remove it first: cachemesh shard remove",
        )
    if sweep is None:
        raise _no_sweep(state.document.pool, shard)
    if not sweep.drained:
        raise Problem(
            "sweep-needed",
            f"Shard {shard!r} is in pool {state.document.pool!r}, and may hold keys that it no "
            "longer owns",
            "start its master, and the sweep goes on; or remove the shard first",
        )
    if sweep.state != "failed":
        raise Problem(
            "sweep-needed",
            f"Shard {shard!r} is still being emptied ({sweep.state}), which has not failed",
            "wait until it is done or has failed, which takes about 30 s",
        )
    return sweep


def _no_sweep(pool: str, shard: str) -> Problem:
    return Problem(
        "sweep-not-found",
        f"No keys are being removed from a shard {shard!r} of pool {pool!r}",
        "see which are: cachemesh pool status",
    )
