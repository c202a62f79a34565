"""The handover itself: pause, catch up, promote, demote, announce."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import redis

from cachemesh.core.errors import CacheMeshError
from metaserver.failover.participant_instance import Standing
from metaserver.failover.participant_sentinel import Watcher
from metaserver.failover.participants import Side, wait_for
from metaserver.failover.saved_settings import Notes
from metaserver.redis_io.connection import reason_of

PAUSE = 2.0
"""Seconds of the first pause: what a metaserver that dies while replicas catch up costs."""
CATCH_UP = 1.5  # seconds; within the first pause
LONG_PAUSE = 5.0
"""Seconds of the pause in which a replica is promoted, and the old master demoted.

More would cost the Sentinels their sight of the master: what they PUBLISH on it waits too, and
PING behind it, so that after `down-after-milliseconds` it is down to them.
"""
PROMOTION = 1.5  # seconds; it takes 0.13 to 0.25
AGREE = 10.0  # seconds for the Sentinels to agree on the new master
POLL = 0.004  # seconds between two looks while writes wait


class Stalled(CacheMeshError):
    """The handover does not get on."""


@dataclass
class Timings:
    """What happened when: `at` in seconds since the pause `began` (monotonic).

    `waited` is how long the search for a Sentinel and its moment took.
    """

    waited: float = 0.0
    began: float = 0.0
    at: dict[str, float] = field(default_factory=dict)

    def mark(self, what: str) -> None:
        """It happened now."""
        self.at[what] = time.monotonic() - self.began

    def to_dict(self) -> dict[str, float | None]:
        """In milliseconds, as docs/api.md shows them."""
        steps = ("caught_up", "promoted", "demoted", "resumed", "announced")
        shown = {f"{step}_ms": _ms(self.at.get(step)) for step in steps}
        return {"waited_ms": _ms(self.waited), **shown}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


@dataclass
class Handover:
    """One attempt, once `notes` say who leads and they are in the store.

    `told` is whether the Sentinel may have begun a failover; `fence` is the number of attached
    replicas below which the old master refuses writes; `patience` is for how many seconds a
    promotion may still come once this is to be settled.
    """

    side: Side
    notes: Notes
    fence: int
    timings: Timings
    told: bool = False
    patience: float = 0.0

    def run(self) -> str:
        """From the pause to the demotion; the new master. The writes still wait afterwards.

        Raises:
            Stalled, redis.RedisError: it must be settled; writes may be waiting.
        """
        self._pause()
        self._catch_up()
        self._extend_pause()
        promoted = self._promote()
        self.demote(promoted)
        return promoted

    def _pause(self) -> None:
        self.timings.began = time.monotonic()
        self.side.master.pause(round(PAUSE * 1000))

    def _catch_up(self) -> None:
        """Until every replica that may be promoted has all that the master ever acknowledged."""
        target = self.side.master.standing().offset

        def behind() -> list[str]:
            standings = self.side.standings()
            return [
                at
                for at, standing in standings.items()
                if not isinstance(standing, Standing)
                or standing.role != "replica"
                or standing.offset < target
            ]

        done = wait_for(lambda: None if behind() else True, CATCH_UP, POLL)
        if not done:
            late = ", ".join(behind()) or "a replica"
            raise Stalled(f"{late} did not catch up with the master within {CATCH_UP:g} s")
        self.timings.mark("caught_up")

    def _extend_pause(self) -> None:
        self.side.master.pause_fenced(round(LONG_PAUSE * 1000), self.fence)
        # The first pause was asked for after `began`, the second is in force by now.
        if time.monotonic() - self.timings.began >= PAUSE:
            raise Stalled(f"the first pause of {PAUSE:g} s ran out before the second began")

    def _promote(self) -> str:
        leader = self.side.watchers[self.notes.leader]
        self.told = True
        try:
            leader.fail_over()
        except redis.ResponseError as error:
            self.told = False
            raise Stalled(f"Sentinel {leader.address} refused: {reason_of(error)}") from error
        promoted = wait_for(self.side.promoted, PROMOTION, POLL)
        if promoted is None:
            raise Stalled(f"no replica was promoted within {PROMOTION:g} s")
        self.timings.mark("promoted")
        return promoted

    def demote(self, promoted: str) -> None:
        """Make the old master a replica of the new one, while its writes wait."""
        standing = self.side.master.replicate(promoted)
        if standing.role != "replica" or standing.master != promoted:
            raise Stalled(f"{self.side.master.address} did not become a replica of {promoted}")
        self.timings.mark("demoted")

    def resume(self) -> None:
        """Let the writes go on: to a READONLY answer on an old master, or to be done."""
        self.side.master.unpause()
        self.timings.mark("resumed")


def agree(side: Side, notes: Notes, promoted: str, seen: Callable[[], None]) -> bool:
    """Wait until the Sentinels that answer say `promoted`, and none is at the failover any more.

    The leader is spared its wait for the other replicas, which have all that the promoted one has,
    and the other Sentinels hear of it at once.
    `seen` is called once every Sentinel that answers tells clients the new master.
    """
    announced = hurried = False

    def settled() -> bool | None:
        nonlocal announced, hurried
        said = side.ask(Watcher.master)
        if not hurried and said.get(notes.leader) == promoted:
            hurried = True
            leader = side.watchers[notes.leader]
            news = leader.news()
            side.ask(lambda watcher: watcher.hear(news))
            leader.set_timeout(1)
        answers = [answer for answer in said.values() if not isinstance(answer, redis.RedisError)]
        if set(answers) != {promoted} or len(answers) * 2 <= len(said):
            return None
        if not announced:
            announced = True
            seen()
        busy = side.ask(Watcher.in_progress).values()
        return None if any(answer is True for answer in busy) else True

    def quietly() -> bool | None:
        try:
            return settled()
        except redis.RedisError:
            return None  # the leader broke off: the others have to agree without it

    return wait_for(quietly, AGREE, 0.01) is True
