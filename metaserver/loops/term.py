"""The loops of the leading process: they run while it leads, on a store that refuses late writes.

Lead --> each loop on a thread --lost, stop, or a loop hangs--> all are told to end
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeAlias

from metaserver.store import Lead

RESTART = 2.0  # seconds until a loop that an exception ended starts again
HANGS = 60.0  # seconds without a step after which a loop hangs, and the process gives the lead away
_LOOK_EVERY = 0.1  # seconds between two looks at the loops

Loop: TypeAlias = Callable[[threading.Event], None]
"""Runs until the event is set, and looks at it in each step of its work."""

log = logging.getLogger("metaserver")


class LoopStop(threading.Event):
    """Tells a loop to end. A loop that looks at it makes progress."""

    def __init__(self) -> None:
        super().__init__()
        self.looked = time.monotonic()

    def is_set(self) -> bool:
        """Return whether the loop shall end."""
        self.looked = time.monotonic()
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the loop shall end, or `timeout` seconds; return whether it shall."""
        self.looked = time.monotonic()
        return super().wait(timeout)


class RunningLoop:
    """A loop on its thread. An exception ends it for RESTART seconds.

    Args:
        previous: the loop of an earlier term, for whose end it waits.
    """

    def __init__(self, name: str, loop: Loop, previous: RunningLoop | None = None) -> None:
        self.stop = LoopStop()
        self._name = name
        self._loop = loop
        self._previous = previous
        self._thread: threading.Thread | None = None
        self._ended = 0.0

    @property
    def runs(self) -> bool:
        """Whether its thread has not ended."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def hangs(self) -> bool:
        """Whether the loop has made no progress for too long."""
        return time.monotonic() - self.stop.looked >= HANGS

    def keep_running(self) -> None:
        """Start the loop, or start it again some time after an exception has ended it."""
        if self.runs or (self._previous is not None and self._previous.runs):
            return
        self._previous = None
        self.stop.looked = now = time.monotonic()
        if self._thread is None:
            self._start()
        elif not self._ended:
            log.error("the %s loop broke off; it starts again in %g s", self._name, RESTART)
            self._ended = now
        elif now - self._ended >= RESTART:
            self._start()

    def end_by(self, deadline: float) -> None:
        """Wait for the end of the thread, until a time in monotonic seconds."""
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def _start(self) -> None:
        self._ended = 0.0
        self._thread = threading.Thread(
            target=self._loop, args=(self.stop,), name=self._name, daemon=True
        )
        self._thread.start()


class TermLoops:
    """Runs the loops of this process's terms, one term after the other.

    A loop that hangs costs its process the lead. In a later term it starts once its thread from
    before has ended.

    Args:
        loops: returns the loops of a term by name.
        stopping: set when the process stops.
        last_steps: seconds for the loops to end when the term does.
    """

    def __init__(
        self,
        loops: Callable[[Lead], Mapping[str, Loop]],
        stopping: threading.Event,
        *,
        last_steps: float = 1.0,
    ) -> None:
        self._loops = loops
        self._stopping = stopping
        self._last_steps = last_steps
        self._running: Mapping[str, RunningLoop] = {}

    def run(self, lead: Lead) -> None:
        """Run the loops until the term is lost, the process stops, or one of them hangs."""
        self._running = {
            name: RunningLoop(name, loop, self._running.get(name))
            for name, loop in self._loops(lead).items()
        }
        try:
            while not self._stopping.is_set():
                for loop in self._running.values():
                    loop.keep_running()
                hung = [name for name, loop in self._running.items() if loop.hangs]
                if hung:
                    log.error("the lead is given away: loops that hang: %s", ", ".join(hung))
                    return
                if lead.lost.wait(_LOOK_EVERY):
                    return
        finally:
            for loop in self._running.values():
                loop.stop.set()
            deadline = time.monotonic() + self._last_steps
            for loop in self._running.values():
                loop.end_by(deadline)
