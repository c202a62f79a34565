"""Which Sentinel begins a planned failover, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from metaserver.domain.errors import Problem
from metaserver.failover.participant_instance import PRIORITY
from metaserver.failover.participant_sentinel import (
    TIMEOUT,
    Row,
    Watcher,
    first_choice,
    seconds_to_phase,
)
from metaserver.failover.participants import Side
from metaserver.failover.preconditions import Survey, rows_by_sentinel
from metaserver.failover.saved_settings import Notes
from metaserver.redis_io.reply_parsers import number

GIVES_UP = 3000
"""ms of failover-timeout for the leader: a promotion that takes longer it gives up by itself."""

_SOON = 0.4  # seconds before its phase that a leader is made ready


@dataclass(frozen=True)
class Search:
    """The search for a leader; changes nothing but what `notes` says, which `save` stores first.

    `end` is when it must be over (monotonic seconds); `hurry` takes any phase; `stopping` calls
    it off.
    """

    side: Side
    survey: Survey
    to: str | None
    end: float
    hurry: bool
    save: Callable[[Notes], None]
    stopping: threading.Event

    def run(self, notes: Notes) -> Notes:
        """The notes with the leader, at a moment that suits it.

        Raises:
            Problem: failover-failed, if no Sentinel would choose the replica in time.
            redis.RedisError: an instance or the leader broke off.
        """
        if self.to is not None and len(self.survey.candidates) > 1:
            notes = self._prefer(self.to, notes)
        leader = self._await(self.survey.leaders, _SOON)
        fields = leader.fields()
        notes = notes.replace(leader=leader.address, timeout=number(fields, TIMEOUT))
        self.save(notes)
        leader.set_timeout(GIVES_UP)
        self._await([leader.address], 0.0)
        return notes

    def _prefer(self, to: str, notes: Notes) -> Notes:
        """Give `to` the lowest replica-priority."""
        names = [each.address for each in self.survey.candidates]
        old = {at: self.side.replicas[at].setting(PRIORITY) for at in names}
        new = preferring(to, {at: number(old, at) for at in names})
        notes = notes.replace(priorities={at: old[at] for at in new})
        self.save(notes)
        for at, priority in new.items():
            self.side.replicas[at].set(PRIORITY, priority)
        return notes

    def _await(self, among: Sequence[str], early: float) -> Watcher:
        """The Sentinel among these that comes into its phase first, `early` seconds before."""
        while True:
            rows = rows_by_sentinel(self.side)
            choices = {at: self._choice(rows[at]) for at in among if at in rows}
            waits = {at: seconds_to_phase(row.info_age) for at, row in choices.items() if row}
            now = time.monotonic()
            wait = 0.1
            if waits:
                best = min(waits, key=lambda at: waits[at])
                wait = waits[best] - early
                if wait <= 0 or self.hurry or now + wait > self.end:
                    return self.side.watchers[best]
            elif now >= self.end:
                raise self._nobody(rows)
            if self.stopping.wait(max(0.01, min(0.25, wait - 0.02))):
                raise failed("The metaserver is being stopped", "try again when it is back")

    def _choice(self, rows: Sequence[Row]) -> Row | None:
        """What a Sentinel would promote, unless it could be one that nobody looked after."""
        known = {each.address for each in self.survey.candidates}
        if any(row.eligible and row.address not in known for row in rows):
            return None
        choice = first_choice(rows)
        return None if choice is None or self.to not in (None, choice.address) else choice

    def _nobody(self, rows: Mapping[str, Sequence[Row]]) -> Problem:
        if not rows:
            return failed("No Sentinel answers any more", "start the Sentinels, then try again")
        what = self.to or "one of the replicas that were looked at"
        return failed(
            f"No Sentinel would have promoted {what} within the time",
            "a Sentinel learns of a replica-priority within 10 s: give it more time",
        )


def preferring(to: str, priorities: Mapping[str, int]) -> dict[str, int]:
    """The priorities to change so that `to` has the lowest; those of 0 stay out of it."""
    others = {at: old for at, old in priorities.items() if at != to and old > 0}
    lowest = min(others.values(), default=0)
    if not others or 0 < priorities[to] < lowest:
        return {}
    if lowest > 1:
        return {to: lowest - 1}
    wanted = {at: max(2, old) for at, old in others.items()} | {to: 1}
    return {at: new for at, new in wanted.items() if new != priorities[at]}


def failed(detail: str, next_step: str, **extra: object) -> Problem:
    """502: it was undone."""
    return Problem("failover-failed", detail, next_step, **extra)
