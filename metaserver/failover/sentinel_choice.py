"""Which Sentinel begins a planned failover, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from metaserver.domain.errors import RequestRefused
from metaserver.domain.info_fields import number
from metaserver.failover.participant_instance import PRIORITY
from metaserver.failover.participant_sentinel import (
    TIMEOUT,
    ParticipantSentinel,
    ReplicaRow,
    first_choice,
    seconds_to_phase,
)
from metaserver.failover.participants import Participants
from metaserver.failover.preconditions import FailoverPlan, rows_by_sentinel
from metaserver.failover.saved_settings import SavedSettings

GIVES_UP = 3000
"""The leader's failover-timeout in ms: the leader gives up a promotion that takes longer."""

_PREPARE = 0.4  # seconds before its phase that a leader is chosen and prepared


@dataclass(frozen=True)
class SentinelSearch:
    """The search for the Sentinel that begins a failover, called the leader, and for its moment.

    Attributes:
        to: the replica that has to be chosen; None for any candidate.
        end: when the search must be over, in monotonic seconds.
        hurry: begin in any phase.
        save: stores the settings from before; called before any setting is changed.
        stopping: set when the process stops, which ends the search.
    """

    participants: Participants
    plan: FailoverPlan
    to: str | None
    end: float
    hurry: bool
    save: Callable[[SavedSettings], None]
    stopping: threading.Event

    def run(self, saved: SavedSettings) -> SavedSettings:
        """Return the saved settings with the leader, at the moment at which it should begin.

        Raises:
            RequestRefused: failover-failed: no Sentinel would choose the replica in time.
            redis.RedisError: an instance or the leader failed.
        """
        if self.to is not None and len(self.plan.candidates) > 1:
            saved = self._prefer(self.to, saved)
        leader = self._await(self.plan.leaders, _PREPARE)
        fields = leader.fields()
        saved = saved.replace(leader=leader.address, timeout=number(fields, TIMEOUT))
        self.save(saved)
        leader.set_timeout(GIVES_UP)
        self._await([leader.address], 0.0)
        return saved

    def _prefer(self, to: str, saved: SavedSettings) -> SavedSettings:
        """Give `to` the lowest replica-priority."""
        names = [each.address for each in self.plan.candidates]
        old = {at: self.participants.replicas[at].setting(PRIORITY) for at in names}
        new = preferring(to, {at: number(old, at) for at in names})
        saved = saved.replace(priorities={at: old[at] for at in new})
        self.save(saved)
        for at, priority in new.items():
            self.participants.replicas[at].set(PRIORITY, priority)
        return saved

    def _await(self, among: Sequence[str], early: float) -> ParticipantSentinel:
        """Wait for the first of these Sentinels to be `early` seconds before its phase."""
        while True:
            rows = rows_by_sentinel(self.participants)
            choices = {at: self._choice(rows[at]) for at in among if at in rows}
            waits = {at: seconds_to_phase(row.info_age) for at, row in choices.items() if row}
            now = time.monotonic()
            wait = 0.1
            if waits:
                best = min(waits, key=lambda at: waits[at])
                wait = waits[best] - early
                if wait <= 0 or self.hurry or now + wait > self.end:
                    return self.participants.sentinels[best]
            elif now >= self.end:
                raise self._none_in_time(rows)
            if self.stopping.wait(max(0.01, min(0.25, wait - 0.02))):
                raise failover_failed(
                    "The metaserver is being stopped", "try again when it is back"
                )

    def _choice(self, rows: Sequence[ReplicaRow]) -> ReplicaRow | None:
        """Return the replica that a Sentinel would promote, None if it could be no candidate."""
        known = {each.address for each in self.plan.candidates}
        if any(row.eligible and row.address not in known for row in rows):
            return None
        choice = first_choice(rows)
        return None if choice is None or self.to not in (None, choice.address) else choice

    def _none_in_time(self, rows: Mapping[str, Sequence[ReplicaRow]]) -> RequestRefused:
        if not rows:
            return failover_failed(
                "No Sentinel answers any more", "start the Sentinels, then try again"
            )
        what = self.to or "one of the replicas that were looked at"
        return failover_failed(
            f"No Sentinel would have promoted {what} within the time",
            "a Sentinel learns of a replica-priority within 10 s: give it more time",
        )


def preferring(to: str, priorities: Mapping[str, int]) -> dict[str, int]:
    """Return the priorities to change, so that `to` has the lowest; those of 0 stay as they are."""
    others = {at: old for at, old in priorities.items() if at != to and old > 0}
    lowest = min(others.values(), default=0)
    if not others or 0 < priorities[to] < lowest:
        return {}
    if lowest > 1:
        return {to: lowest - 1}
    wanted = {at: max(2, old) for at, old in others.items()} | {to: 1}
    return {at: new for at, new in wanted.items() if new != priorities[at]}


def failover_failed(detail: str, next_step: str, **extra: object) -> RequestRefused:
    """Return the error for a failover that failed after it began."""
    return RequestRefused("failover-failed", detail, next_step, **extra)
