"""Whether the keys of a resize can move, asked of the shards before it begins."""

from __future__ import annotations

import time
from collections.abc import Mapping

from cachemesh.core.migration.pull import TransferError
from metaserver.domain.errors import RequestRefused
from metaserver.domain.migration_time import MoveSpeed
from metaserver.domain.planning import ChangePlan
from metaserver.redis_io.move_probe import MoveImpossibleError, MoveNotTriedError, MoveProbe
from metaserver.service.context import ServiceContext

_WITHIN = 5.0  # seconds for all pairs of shards


def check_moves(context: ServiceContext, plan: ChangePlan, masters: Mapping[str, str]) -> list[str]:
    """Have a test key move between all shards that will exchange keys.

    One pair after the other: two shards that copy to each other at once wait for each other.

    Args:
        masters: shard -> its last known master, also of a shard that is to be added.

    Returns:
        A warning for each pair that could not be tried, as a shard does not serve just now.

    Raises:
        RequestRefused: move-impossible, of the first pair.
    """
    if plan.strategy != "move" or plan.before is None:
        return []
    warnings, end = [], time.monotonic() + _WITHIN
    with _probe(context, plan, masters) as probe:
        for source, target in ((move.source, move.target) for move in plan.moves.by_pair):
            try:
                if time.monotonic() >= end:
                    raise MoveNotTriedError(f"others took {_WITHIN:g} s")
                probe.try_move(source, target)
            except MoveNotTriedError as error:
                warnings.append(
                    f"whether keys can move from {source} to {target} is not known: {error}"
                )
            except MoveImpossibleError as error:
                raise _impossible(source, target, str(error)) from error
    return warnings


def speed_of(
    context: ServiceContext,
    plan: ChangePlan,
    masters: Mapping[str, str],
    pair: tuple[str, str],
    value: int,
) -> MoveSpeed | None:
    """Return how fast test keys move between two shards; None if they cannot just now.

    Args:
        value: bytes of each key's value.
    """
    with _probe(context, plan, masters) as probe:
        try:
            return probe.speed(*pair, value)
        except (MoveImpossibleError, MoveNotTriedError, TransferError):
            return None


def _probe(context: ServiceContext, plan: ChangePlan, masters: Mapping[str, str]) -> MoveProbe:
    """Return what moves test keys; shards reach one another where the Sentinels say."""
    with context.sentinels(() if plan.before is None else plan.before.sentinels) as sentinels:
        said = sentinels.agreed({*plan.losers, *plan.gainers})
    named = {shard: address for shard, address in said.items() if address is not None}
    return MoveProbe(context.config, context.networks, {**masters, **named})


def _impossible(source: str, target: str, reason: str) -> RequestRefused:
    return RequestRefused(
        "move-impossible",
        f"Keys cannot move from shard {source} to shard {target}: {reason}",
        "mend that and try again, or let keys go cold with strategy drop (--strategy drop)",
        source=source,
        target=target,
    )
