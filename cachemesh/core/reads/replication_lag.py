"""Up to when a replica has everything that its master has acknowledged. No I/O, no clock.

A master counts the bytes of its stream of writes, a replica those it has applied
(``master_repl_offset`` and ``slave_repl_offset`` of INFO, redis.io/docs/latest/commands/info).
What the master had acknowledged when it was asked lies below the offset it answered:

    asked at   1.0    1.5    2.0          a replica at offset 150 has what was acknowledged
    master     100    140    190          before 1.5; it may lack something from after that

Offsets count only within one history: the ``master_replid`` of both must be the same.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from cachemesh.core.names import Address

MOST_SAMPLES = 1000
"""So many offsets of the master are remembered; a replica further behind covers nothing."""

NEVER = float("-inf")


@dataclass(slots=True, eq=False)
class _Record:
    """What is known under one master. Offsets and times rise."""

    master: Address | None = None
    history: str = ""
    offsets: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    covered: dict[Address, float] = field(default_factory=dict)


class LagMeter:
    """The replicas of one shard. One thread feeds it; any may look, or tell of another master.

    Times are seconds on a clock that only rises, the same for all calls.
    """

    __slots__ = ("_record",)

    def __init__(self) -> None:
        self._record = _Record()

    def follow(self, master: Address | None) -> None:
        """This is the master from now on: what other instances say of theirs does not count."""
        if master != self._record.master:
            self._record = _Record(master)

    def master_at(self, master: Address, history: str, asked: float, offset: int) -> None:
        """What an instance that says it is a master answered.

        Args:
            master: which one; not counted unless it is the one followed.
            history: its replication id.
            asked: a time before it was asked.
            offset: how long its stream of writes was.
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
        """How much of its master's stream a replica had applied when it was asked.

        Args:
            replica: which one.
            history: the replication id of the stream.
            offset: how far it is.
        """
        record = self._record
        at = bisect_right(record.offsets, offset) if history == record.history else 0
        if at:
            record.covered[replica] = record.times[at - 1]
        else:
            record.covered.pop(replica, None)

    def lacks(self, replica: Address) -> bool:
        """Its stream of writes is known to be another than the master's, or far behind it."""
        record = self._record
        return bool(record.offsets) and replica not in record.covered

    def forget(self, replica: Address) -> None:
        """Its connections broke, so it may have begun anew with less than it had."""
        self._record.covered.pop(replica, None)

    def covered(self, replica: Address) -> float:
        """A replica has all that was acknowledged before this time; `NEVER` if nothing is known."""
        return self._record.covered.get(replica, NEVER)
