"""Records what happened when, in seconds since the load began."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from time import monotonic, time


@dataclass(frozen=True)
class Happening:
    """One line of the timeline: ``what`` happened ``at`` seconds after the load began."""

    at: float
    what: str

    def __str__(self) -> str:
        return f"{self.at:5.1f} s  {self.what}"


class Timeline:
    """All happenings of a demo; several threads may add to it.

    Args:
        show: gets each happening when it is added.
    """

    def __init__(self, show: Callable[[Happening], None]) -> None:
        self._show = show
        self._lock = threading.Lock()
        self._happenings: list[Happening] = []
        self._began = monotonic()
        self._began_at = time()

    def begin(self) -> None:
        """Count seconds from now on."""
        self._began, self._began_at = monotonic(), time()

    def now(self) -> float:
        """Return the seconds since the load began."""
        return monotonic() - self._began

    def seconds_of(self, stamp: str) -> float:
        """Convert a time of the metaserver (RFC 3339) to seconds since the load began."""
        moment = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return moment.timestamp() - self._began_at

    def add(self, what: str, at: float | None = None) -> None:
        """Add what happens now, or what happened ``at`` seconds after the load began."""
        happening = Happening(self.now() if at is None else at, what)
        with self._lock:
            self._happenings.append(happening)
        self._show(happening)

    def in_order(self) -> list[Happening]:
        """Return everything so far, oldest first."""
        with self._lock:
            return sorted(self._happenings, key=lambda happening: happening.at)
