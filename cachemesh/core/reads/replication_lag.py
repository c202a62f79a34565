"""Replication lag: up to when a replica has all that its master has acknowledged. No clock.

A master counts the bytes of its stream of writes, a replica those it has applied
(``master_repl_offset`` and ``slave_repl_offset`` of INFO, redis.io/docs/latest/commands/info).
All that the master had acknowledged when it was asked lies below the offset of its reply:

    asked at   1.0    1.5    2.0          a replica at offset 150 has what was acknowledged
    master     100    140    190          before 1.5; it may lack something from after that

Offsets count only within one history: the ``master_replid`` of both must be the same.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from cachemesh.core.names import Address

MOST_SAMPLES = 1000
"""Offsets of the master that are remembered; a replica further behind covers nothing."""

NEVER = float("-inf")


@dataclass(slots=True, eq=False)
class _Record:
    """The measurements under one master. Offsets and times rise."""

    master: Address | None = None
    history: str = ""
    offsets: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    covered: dict[Address, float] = field(default_factory=dict)


class LagMeter:
    """Measures the replicas of one shard. One thread feeds the meter; any may call the others.

    Times are seconds on a clock that only rises, the same for all calls.
    """

    __slots__ = ("_record",)

    def __init__(self) -> None:
        self._record = _Record()

    def follow(self, master: Address | None) -> None:
        """Set the master. Offsets of replicas of other masters do not count from now on."""
        if master != self._record.master:
            self._record = _Record(master)

    def master_at(self, master: Address, history: str, asked: float, offset: int) -> None:
        """Record a master's reply.

        Args:
            master: its address; the reply does not count unless this is the master followed.
            history: its replication id.
            asked: a time before the question was sent.
            offset: the bytes of its stream of writes.
        """
        record = self._record
        if master != record.master:
            return
        offsets, times = record.offsets, record.times
        if history != record.history or (offsets and offset < offsets[-1]):
            record.covered = {}
            record.history = history
            offsets.clear()
            times.clear()
        if offsets and offset == offsets[-1]:
            times[-1] = asked
            return
        offsets.append(offset)
        times.append(asked)
        if len(offsets) > 2 * MOST_SAMPLES:
            del offsets[:MOST_SAMPLES], times[:MOST_SAMPLES]

    def replica_at(self, replica: Address, history: str, offset: int) -> None:
        """Record a replica's reply.

        Args:
            replica: its address.
            history: the replication id of the stream that the replica follows.
            offset: the bytes of that stream that the replica has applied.
        """
        record = self._record
        at = bisect_right(record.offsets, offset) if history == record.history else 0
        if at:
            record.covered[replica] = record.times[at - 1]
        else:
            record.covered.pop(replica, None)

    def lacks(self, replica: Address) -> bool:
        """Return whether a replica is known to follow another stream, or to be far behind."""
        record = self._record
        return bool(record.offsets) and replica not in record.covered

    def forget(self, replica: Address) -> None:
        """Forget a replica whose connection broke: it may have begun anew with less data."""
        self._record.covered.pop(replica, None)

    def covered(self, replica: Address) -> float:
        """Return a time: a replica has all writes acknowledged before. `NEVER` if none is known."""
        return self._record.covered.get(replica, NEVER)
