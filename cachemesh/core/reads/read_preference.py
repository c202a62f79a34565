"""The read preference: in which order the instances of a shard are asked for a read. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from cachemesh.core.errors import ConfigurationError
from cachemesh.core.names import Address
from cachemesh.core.reads.load_weights import LoadWindow
from cachemesh.core.reads.replication_lag import NEVER
from cachemesh.core.resilience.circuit_breaker import Breaker

READ_FROM = ("master", "replica", "prefer_replica", "weighted")

_SHORTEST, _SHORT, _LONGEST = 0.05, 0.1, 0.5

CURSORS = frozenset({"HSCAN", "SSCAN", "ZSCAN"})
"""Commands that every client reads from the master: each instance hashes in its own order, so a
cursor means something only to the instance that gave it."""


@dataclass(frozen=True)
class Reading:
    """The read preference of a client.

    Attributes:
        read_from: ``master``; ``replica``, never the master; ``prefer_replica``, the master if no
            replica will do; ``weighted``, all instances in proportion to their load weights, see
            `cachemesh.core.reads.load_weights`.
        max_lag: seconds that a replica may be behind its master; None for no bound. A client
            always sees its own writes, however far replicas are behind.

    Raises:
        ConfigurationError: ``read_from`` is another word, or ``max_lag`` is no number above 0.
    """

    read_from: str = "master"
    max_lag: float | None = None

    def __post_init__(self) -> None:
        if self.read_from not in READ_FROM:
            raise ConfigurationError(
                f"read_from is {self.read_from!r:.80}; it takes one of {', '.join(READ_FROM)}"
            )
        lag = self.max_lag
        if lag is not None and (
            isinstance(lag, bool)
            or not isinstance(lag, (int, float))
            or not (math.isfinite(lag) and lag > 0)
        ):
            raise ConfigurationError(
                f"max_lag is {lag!r:.80}; it takes seconds, a number above 0, or None for no bound"
            )

    @property
    def uses_replicas(self) -> bool:
        """Whether replicas are asked at all."""
        return self.read_from != "master"

    @property
    def only_replicas(self) -> bool:
        """Whether the master is never asked."""
        return self.read_from == "replica"

    @property
    def draws(self) -> bool:
        """Whether the master is drawn among the replicas."""
        return self.read_from == "weighted"

    @property
    def probe_interval(self) -> float:
        """Seconds between two measurements, so that an idle replica stays within ``max_lag``."""
        # Where only replicas are read, a read waits for the client's own writes.
        longest = _SHORT if self.only_replicas else _LONGEST
        if self.max_lag is None:
            return longest
        return min(max(self.max_lag / 4, _SHORTEST), longest)


class Readable(Protocol):
    """An instance, as far as the read preference goes."""

    @property
    def address(self) -> Address:
        """The address."""

    @property
    def breaker(self) -> Breaker:
        """The circuit breaker: closed if the instance serves."""

    @property
    def window(self) -> LoadWindow:
        """The outcomes of the last seconds."""


R = TypeVar("R", bound=Readable)


def order(
    reading: Reading,
    master: R | None,
    replicas: Sequence[R],
    covered: Callable[[Address], float],
    written_at: float,
    now: float,
    draw: float,
) -> list[R]:
    """Return the instances to ask, best first; empty if none will do.

    Left out are those whose breaker is not closed, and replicas that are further behind than
    allowed or may lack what was written at ``written_at``.

    Args:
        reading: the read preference.
        master: None if no master is known.
        replicas: as far as known.
        covered: returns up to when a replica has all writes, see `LagMeter.covered`.
        written_at: when this client wrote to a key of the read, see `RecentWrites.written_at`.
        now: the time.
        draw: drawn evenly from [0, 1).
    """
    masters = [master] if master is not None and master.breaker.closed else []
    if reading.read_from == "master":
        return masters
    since = written_at if reading.max_lag is None else max(written_at, now - reading.max_lag)
    usable = [
        replica
        for replica in replicas
        if replica.breaker.closed and (since == NEVER or covered(replica.address) > since)
    ]
    if reading.read_from == "weighted":
        return _drawn(masters + usable, now, draw)
    turned = _turned(usable, draw)
    if any(replica.window.failures for replica in turned):
        turned.sort(key=lambda replica: replica.window.failures > 0)
    return turned if reading.read_from == "replica" else turned + masters


def _turned(candidates: list[R], draw: float) -> list[R]:
    """Return the candidates turned, so that each comes first as often as the others."""
    first = int(draw * len(candidates))
    return candidates[first:] + candidates[:first]


def _drawn(candidates: list[R], now: float, draw: float) -> list[R]:
    """Return one candidate drawn in proportion to its weight, then the others, heaviest first."""
    latencies = [candidate.window.latency(now) for candidate in candidates]
    best = min((latency for latency in latencies if latency is not None), default=None)
    weights = [candidate.window.weight(now, best) for candidate in candidates]
    total = sum(weights)
    if not total:
        return _turned(candidates, draw)
    left = draw * total
    drawn = 0
    for at, weight in enumerate(weights):
        if weight:
            drawn = at
            if left < weight:
                break
            left -= weight
    others = [at for at in range(len(candidates)) if at != drawn]
    others.sort(key=weights.__getitem__, reverse=True)
    return [candidates[at] for at in (drawn, *others)]
