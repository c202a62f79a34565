"""Which masters have to be looked up and when, and which threads wait for the answer."""

from __future__ import annotations

import random
import time
from collections import Counter
from queue import SimpleQueue
from typing import TypeAlias

from cachemesh.core.errors import SentinelUnavailableError
from cachemesh.core.names import Address
from cachemesh.core.resilience.lookup_throttle import LookupThrottle
from cachemesh.discovery.topology_state import TopologyState

FailedMaster: TypeAlias = "tuple[str, Address | None]"
"""A shard, and the master of it that does not serve, None if no master was known."""


class MasterLookups:
    """Holds the look-ups that commands request and one thread makes. Threads may share one.

    Args:
        state: the topology; its lock guards this object too.
        inbox: None put into this queue wakes the thread that looks up.

    Attributes:
        unavailable: why the last look-up failed; None if it did not.
    """

    def __init__(self, state: TopologyState, inbox: SimpleQueue[int | None]) -> None:
        self._state = state
        self._changed = state.changed
        self._inbox = inbox
        self._throttle = LookupThrottle()
        self._requested: set[FailedMaster] = set()
        self._waiting: Counter[FailedMaster] = Counter()
        self._early = False
        self._looking_up = False
        self._count = 0
        self._last_at = float("-inf")
        self.unavailable: SentinelUnavailableError | None = None

    # For threads of the app.

    def look_up(self, shard: str, seen: Address | None, timeout: float | None) -> Address | None:
        """Request a look-up and wait for it, if one may be made now; see `Follower`.

        Raises:
            SentinelUnavailableError: no Sentinel answers.
        """
        master_of = self._state.master_of
        with self._changed:
            topology = self._state.topology
            if (
                master_of(shard) != seen
                or self._state.ended
                or topology is None
                or shard not in topology.document.shard_names
            ):
                return master_of(shard)
            self._state.master_failed(shard, seen)
            first = not self._requested
            self._requested.add((shard, seen))
            if first:
                self._inbox.put(None)
            if self._looking_up or time.monotonic() >= self._throttle.ready_at:
                count = self._count
                self._changed.wait_for(
                    lambda: self._count != count or self._state.ended or master_of(shard) != seen,
                    timeout,
                )
            if master_of(shard) == seen and self.unavailable is not None:
                raise SentinelUnavailableError(str(self.unavailable))
            return master_of(shard)

    def wait(self, shard: str, seen: Address | None, timeout: float) -> Address | None:
        """Wait until the known master is not ``seen``; look-ups go on meanwhile; see `Follower`."""
        state = self._state
        with self._changed:
            if state.master_of(shard) == seen and not state.ended:
                state.master_failed(shard, seen)
                self._waiting[shard, seen] += 1
                self._inbox.put(None)
                try:
                    self._changed.wait_for(
                        lambda: state.master_of(shard) != seen or state.ended, timeout
                    )
                finally:
                    self._waiting[shard, seen] -= 1
            return state.master_of(shard)

    def request(self) -> None:
        """Have all masters looked up as soon as the throttle allows. Does not wait."""
        with self._changed:
            self._early = True
        self._inbox.put(None)

    # For the thread that looks up.

    def delay(self, poll_interval: float) -> float:
        """Return the seconds until the next look-up is due; 0 or less: now.

        Args:
            poll_interval: seconds between look-ups that nobody has requested.
        """
        with self._changed:
            wanted = self._early or bool(self._requested) or any(self._waiting.values())
            due = self._last_at if wanted else self._last_at + poll_interval
            delay = max(due, self._throttle.ready_at) - time.monotonic()
            self._looking_up = delay <= 0
            return delay

    def begin(self) -> set[FailedMaster]:
        """Begin a look-up.

        Returns:
            The failed masters for which the look-up was requested.
        """
        with self._changed:
            requested = self._requested | {key for key, count in self._waiting.items() if count}
            self._requested, self._early = set(), False
            return requested

    def end(
        self, started: float, exchanges: int, failure: SentinelUnavailableError | None = None
    ) -> None:
        """End a look-up, and wake the threads that wait for it.

        Args:
            started: when the look-up began, on the clock of `time.monotonic`.
            exchanges: the number of exchanges with Sentinels that it took.
            failure: why it failed; None if it did not.
        """
        with self._changed:
            self._throttle.asked(started, exchanges, failure is None, random.random())
            self._last_at = time.monotonic()
            self.unavailable = failure
            self._looking_up = False
            self._count += 1
            self._waiting = +self._waiting  # drops the entries nobody waits for
            self._changed.notify_all()
