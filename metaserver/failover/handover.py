"""The handover: pause, catch up, promote, demote, announce."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import redis

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.reads.replication_status import RoleReply
from metaserver.failover.participant_sentinel import ParticipantSentinel
from metaserver.failover.participants import Participants, wait_for
from metaserver.failover.saved_settings import SavedSettings
from metaserver.redis_io.bounded_connection import reason_of

PAUSE = 2.0
"""Seconds of the first pause: for so long writes wait if the metaserver dies meanwhile."""
CATCH_UP = 1.5  # seconds; within the first pause
LONG_PAUSE = 5.0
"""Seconds of the pause in which a replica is promoted, and the old master demoted.

A longer pause would have the Sentinels take the master for down: their PUBLISH on the master waits
too, and behind it their PING, until `down-after-milliseconds` are over.
"""
PROMOTION = 1.5  # seconds; it takes 0.13 to 0.25
AGREE = 10.0  # seconds for the Sentinels to agree on the new master
POLL = 0.004  # seconds between two polls while writes wait


class HandoverStalled(CacheMeshError):
    """The handover makes no progress."""


@dataclass
class Timings:
    """When the steps of a failover happened.

    Attributes:
        waited: seconds that the search for a Sentinel and its moment took.
        began: when the pause began, in monotonic seconds.
        at: step -> seconds since then.
    """

    waited: float = 0.0
    began: float = 0.0
    at: dict[str, float] = field(default_factory=dict)

    def mark(self, step: str) -> None:
        """Record that a step happened now."""
        self.at[step] = time.monotonic() - self.began

    def to_dict(self) -> dict[str, float | None]:
        """Return the times in milliseconds, as docs/api.md shows them."""
        steps = ("caught_up", "promoted", "demoted", "resumed", "announced")
        shown = {f"{step}_ms": _ms(self.at.get(step)) for step in steps}
        return {"waited_ms": _ms(self.waited), **shown}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


@dataclass
class Handover:
    """One handover, once the saved settings name the leader and are in the store.

    Attributes:
        fence: the number of attached replicas below which the old master refuses writes.
        started: whether the Sentinel may have begun a failover.
        promotion_wait: seconds for which `resolve` waits for a promotion that may still come.
    """

    participants: Participants
    saved: SavedSettings
    fence: int
    timings: Timings
    started: bool = False
    promotion_wait: float = 0.0

    def run(self) -> str:
        """Go from the pause to the demotion, and return the new master. Writes still wait then.

        Raises:
            HandoverStalled, redis.RedisError: the caller has to call `resolve`; writes may wait.
        """
        self._pause()
        self._catch_up()
        self._extend_pause()
        promoted = self._promote()
        self.demote(promoted)
        return promoted

    def _pause(self) -> None:
        self.timings.began = time.monotonic()
        self.participants.master.pause(round(PAUSE * 1000))

    def _catch_up(self) -> None:
        """Wait until every replica that may be promoted has all that the master acknowledged."""
        target = self.participants.master.ask_role().offset

        def behind() -> list[str]:
            replies = self.participants.ask_roles()
            return [
                at
                for at, reply in replies.items()
                if not isinstance(reply, RoleReply)
                or reply.role != "replica"
                or reply.offset < target
            ]

        done = wait_for(lambda: None if behind() else True, CATCH_UP, POLL)
        if not done:
            late = ", ".join(behind()) or "a replica"
            raise HandoverStalled(f"{late} did not catch up with the master within {CATCH_UP:g} s")
        self.timings.mark("caught_up")

    def _extend_pause(self) -> None:
        self.participants.master.pause_fenced(round(LONG_PAUSE * 1000), self.fence)
        # The first pause was asked for after `began`, the second is in force by now.
        if time.monotonic() - self.timings.began >= PAUSE:
            raise HandoverStalled(f"the first pause of {PAUSE:g} s ran out before the second began")

    def _promote(self) -> str:
        leader = self.participants.sentinels[self.saved.leader]
        self.started = True
        try:
            leader.fail_over()
        except redis.ResponseError as error:
            self.started = False
            raise HandoverStalled(
                f"Sentinel {leader.address} refused: {reason_of(error)}"
            ) from error
        promoted = wait_for(self.participants.promoted, PROMOTION, POLL)
        if promoted is None:
            raise HandoverStalled(f"no replica was promoted within {PROMOTION:g} s")
        self.timings.mark("promoted")
        return promoted

    def demote(self, promoted: str) -> None:
        """Make the old master a replica of the new one, while its writes wait."""
        reply = self.participants.master.replicate(promoted)
        if reply.role != "replica" or str(reply.master) != promoted:
            raise HandoverStalled(
                f"{self.participants.master.address} did not become a replica of {promoted}"
            )
        self.timings.mark("demoted")

    def resume(self) -> None:
        """Let the waiting writes go on: a demoted master answers READONLY, another runs them."""
        self.participants.master.unpause()
        self.timings.mark("resumed")


def agree(
    participants: Participants,
    saved: SavedSettings,
    promoted: str,
    on_announced: Callable[[], None],
) -> bool:
    """Wait until the answering Sentinels name `promoted`, and none is at the failover any more.

    The leader's news is passed on to the other Sentinels at once. Its wait for the other replicas
    is cut short, as they have all that the promoted one has.

    Args:
        on_announced: called once every answering Sentinel gives clients the new master.

    Returns:
        Whether the Sentinels agreed in time.
    """
    announced = passed_on = False

    def agreed() -> bool | None:
        nonlocal announced, passed_on
        named = participants.ask(ParticipantSentinel.master)
        if not passed_on and named.get(saved.leader) == promoted:
            passed_on = True
            leader = participants.sentinels[saved.leader]
            announcement = leader.announcement()
            participants.ask(lambda sentinel: sentinel.receive(announcement))
            leader.set_timeout(1)
        answers = [answer for answer in named.values() if not isinstance(answer, redis.RedisError)]
        if set(answers) != {promoted} or len(answers) * 2 <= len(named):
            return None
        if not announced:
            announced = True
            on_announced()
        busy = participants.ask(ParticipantSentinel.in_progress).values()
        return None if any(answer is True for answer in busy) else True

    def quietly() -> bool | None:
        try:
            return agreed()
        except redis.RedisError:
            return None  # the leader failed: the other Sentinels have to agree without it

    return wait_for(quietly, AGREE, 0.01) is True
