"""Looks up every acknowledged write of a trial on the masters that are in charge at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from benchmarks.failover.site import Site, direct
from benchmarks.failover.values import claim_of
from benchmarks.failover.writer import Acknowledged, Writer

_BATCH = 500


@dataclass
class Outcome:
    """The outcome of one trial; times are in seconds.

    Attributes:
        acknowledged: how many writes to fresh keys were answered by OK.
        lost: how many of these are gone at the end, and how many rolling keys are older than the
            last acknowledged write.
        dropped: how many writes had another reply (``on_error="miss"``).
        missed, stale, wrong: see `Writer`.
        errors: exceptions in the app, by type.
        gaps: for each shard the longest time without an acknowledged write.
        longest_wait: the longest time of a write that was acknowledged.
        longest_failure: the longest time of a call that raised.
        stall: how late the harness itself was, on the worst of its CPUs.
        examples: descriptions of wrong values.
    """

    acknowledged: int = 0
    lost: int = 0
    dropped: int = 0
    missed: int = 0
    stale: int = 0
    wrong: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    gaps: dict[str, float] = field(default_factory=dict)
    longest_wait: float = 0.0
    longest_failure: float = 0.0
    stall: float = 0.0
    examples: list[str] = field(default_factory=list)

    @property
    def error_count(self) -> int:
        """The number of exceptions in the app."""
        return sum(self.errors.values())

    @property
    def lost_share(self) -> float:
        """The lost share of the acknowledged writes, 0 to 1."""
        return self.lost / self.acknowledged if self.acknowledged else 0.0


def check(site: Site, writers: Sequence[Writer], ended: float, stall: float) -> Outcome:
    """Look up every acknowledged write on its shard's master.

    Args:
        site: the servers.
        writers: of the trial.
        ended: when the writers were stopped, in monotonic seconds.
        stall: see `Outcome`.

    Raises:
        AssertionError: a shard has no master.
    """
    outcome = Outcome(stall=stall)
    for shard in dict.fromkeys(writer.shard for writer in writers):
        mine = [writer for writer in writers if writer.shard == shard]
        outcome.gaps[shard] = longest_gap(mine, ended)
        look_up(str(site.settle(shard)), mine, outcome)
    for writer in writers:
        _add(writer, outcome)
    return outcome


def look_up(address: str, writers: Sequence[Writer], outcome: Outcome) -> list[Acknowledged]:
    """Look up writes on one master, and count in ``outcome`` what is lost or wrong there.

    Args:
        address: "host:port" of the master.
        writers: whose writes to look up.
        outcome: gets the counts.

    Returns:
        The writes that are gone.
    """
    master = direct(address, timeout=10.0)
    try:
        return [write for writer in writers for write in _look_up(master, writer, outcome)]
    finally:
        master.close()


def longest_gap(writers: Sequence[Writer], ended: float) -> float:
    """Return the longest time, in seconds, without an acknowledged write, from the first on."""
    times = sorted(write.ended for writer in writers for write in writer.acknowledged)
    if not times:
        return float("inf")
    return max(later - earlier for earlier, later in pairwise([*times, max(ended, times[-1])]))


def _look_up(master: Any, writer: Writer, outcome: Outcome) -> list[Acknowledged]:
    gone = []
    for start in range(0, len(writer.acknowledged), _BATCH):
        batch = writer.acknowledged[start : start + _BATCH]
        found = master.mget([writer.key(write.sequence) for write in batch])
        for write, value in zip(batch, found, strict=True):
            key = writer.key(write.sequence)
            if value is None:
                gone.append(write)
            elif claim_of(value) != (key, writer.name, write.sequence):
                outcome.wrong += 1
                outcome.examples.append(f"{key} holds {value!r:.100}")
    last = master.get(writer.rolling)
    outcome.lost += len(gone) + (writer.last > (claim_of(last).sequence if last else 0))
    return gone


def _add(writer: Writer, outcome: Outcome) -> None:
    outcome.acknowledged += len(writer.acknowledged)
    outcome.dropped += writer.dropped
    outcome.missed += writer.missed
    outcome.stale += writer.stale
    outcome.wrong += writer.wrong
    outcome.examples += writer.examples
    for what, count in writer.errors.items():
        outcome.errors[what] = outcome.errors.get(what, 0) + count
    waits = [write.ended - write.started for write in writer.acknowledged]
    outcome.longest_wait = max([outcome.longest_wait, *waits])
    failures = [failure.ended - failure.started for failure in writer.failures]
    outcome.longest_failure = max([outcome.longest_failure, *failures])
