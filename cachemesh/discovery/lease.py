"""The lease: until when a client may route by its topology without asking a metaserver.

A lease ends so many seconds after the client *sent* the last watch call that was answered; so it
ends before the metaserver believes that it does. Its clock is that of
`cachemesh.transport.lease_clock`.

    command --lease over?--> LeaseRenewal.wait() --> one short watch call --> go on, or give up
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable

import redis

from cachemesh.core.errors import CacheMeshError
from cachemesh.discovery.wakeup import StopEvent
from cachemesh.transport.lease_clock import LeaseEnd, clock

ASK_SECONDS = 2.0
"""Seconds for which one metaserver is waited for when the lease is over."""

_EXCUSED = 5.0  # seconds for which no command waits after a metaserver was asked in vain
_ASK_AGAIN = 0.5, 1.0  # seconds between two such questions, at random


NEVER_OVER = LeaseEnd(math.inf)
"""The end of the lease of a client that follows no metaserver."""


class Lease:
    """The lease of one follower. Threads may share it.

    Attributes:
        strict: when the lease ends.
        lenient: when a client that serves without a lease has to ask: at the end of the lease, and
            some time after each question that no metaserver has answered.
    """

    def __init__(self) -> None:
        self.strict = LeaseEnd(-math.inf)
        self.lenient = LeaseEnd(-math.inf)
        self._lock = threading.Lock()
        self._answered = threading.local()

    def answered(self, sent: float, seconds: float) -> None:
        """Note the answer to a call of this thread, whose document is still to be applied.

        Args:
            sent: when the call was sent, by `clock`.
            seconds: for which the metaserver grants the lease.
        """
        self._answered.until = sent + seconds

    def renew(self) -> None:
        """Renew the lease by what was noted last by this thread: its document is applied."""
        until = getattr(self._answered, "until", -math.inf)
        with self._lock:
            self.strict.until = max(self.strict.until, until)
            self.lenient.until = max(self.lenient.until, until)

    def failed(self, asked: float) -> None:
        """Note that a question was answered by no metaserver.

        Args:
            asked: when it was sent, by `clock`.
        """
        self._answered.until = -math.inf  # an answer that was refused, if any
        with self._lock:
            self.lenient.until = max(self.lenient.until, asked + _EXCUSED)


class LeaseRenewal:
    """Asks metaservers once the lease is over, from one thread for all commands that wait.

    Args:
        lease: to renew.
        ask: asks once, applies what it is told, and renews the lease.
        stop: ends the thread once it is set.
    """

    def __init__(self, lease: Lease, ask: Callable[[], None], stop: StopEvent) -> None:
        self._lease = lease
        self._ask = ask
        self._stop = stop
        self._lock = threading.Lock()
        self._done: threading.Event | None = None  # of the attempt under way, or the next one

    def wait(self, seconds: float) -> bool:
        """Have metaservers asked until the lease is renewed, and wait for the first answer.

        No command waits if a question within the last few seconds was answered by nobody.

        Args:
            seconds: the longest wait.

        Returns:
            Whether the lease holds.
        """
        began = clock()
        if began <= self._lease.strict.until:
            return True
        with self._lock:
            done = self._done
            if done is None:
                done = self._done = threading.Event()
                threading.Thread(target=self._run, name="cachemesh-lease", daemon=True).start()
        if began > self._lease.lenient.until:
            done.wait(seconds)
            if not done.is_set():
                self._lease.failed(began)
        return clock() <= self._lease.strict.until

    def _run(self) -> None:
        while True:
            asked = clock()
            try:
                self._ask()
            except (CacheMeshError, redis.RedisError, OSError):
                self._lease.failed(asked)
            with self._lock:
                done, self._done = self._done, None
                held = clock() <= self._lease.strict.until
                if not held and not self._stop.is_set():
                    self._done = threading.Event()
                again = self._done
            if done is not None:
                done.set()
            if again is None:
                return
            self._stop.wait(random.uniform(*_ASK_AGAIN))
