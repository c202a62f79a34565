"""What a metaserver tells of one shard; its instances are asked meanwhile, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dashboard import connections, slow_log
from dashboard.upstream import UPSTREAM_ERRORS, Json, OperatorProblem, Upstream, problem_of

EVENTS = 6


@dataclass(frozen=True)
class ShardAnswers:
    """The metaserver's answers about a shard and its pool.

    Attributes:
        shard, status, sentinels, quality, clients, events: as the metaserver has them; events are
            about the shard, newest first.
        slow_log, connections: what instances said, or why that is not known; None: not asked for.
    """

    shard: Json
    status: Json
    sentinels: Json
    quality: Json
    clients: Sequence[Json]
    events: Sequence[Json]
    slow_log: Json | OperatorProblem | None
    connections: Json | OperatorProblem | None


def ask_about_shard(
    upstream: Upstream, pool: str, name: str, *, ask_instances: bool
) -> ShardAnswers:
    """Ask a metaserver about a shard.

    Args:
        ask_instances: whether the token may have the shard's instances asked. The metaserver gives
            each 2 s; what cannot be known is told in its place.

    Raises:
        One of `UPSTREAM_ERRORS`: also if there is no such shard.
    """
    shard = upstream.shard(pool, name)
    with ThreadPoolExecutor(max_workers=2) as at_once:

        def told(ask: Callable[[], Json]) -> Callable[[], Json | OperatorProblem | None]:
            return at_once.submit(_answer, ask).result if ask_instances else lambda: None

        slow = told(lambda: upstream.slow_log(pool, name, slow_log.SHOWN))
        connected = told(lambda: upstream.connections(pool, name, connections.SHOWN))
        return ShardAnswers(
            shard=shard,
            status=upstream.status(pool),
            sentinels=upstream.sentinels(pool),
            quality=upstream.quality(pool),
            clients=upstream.clients(pool),
            events=upstream.events(pool, EVENTS, {"shard": name}),
            slow_log=slow(),
            connections=connected(),
        )


def _answer(ask: Callable[[], Json]) -> Json | OperatorProblem:
    try:
        return ask()
    except UPSTREAM_ERRORS as error:
        return problem_of(error)
