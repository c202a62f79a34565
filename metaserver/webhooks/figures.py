"""What the sender of one URL has done, for the metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class WebhookFigures:
    """Counts since the process started, which one sender writes.

    Attributes:
        name: of the target.
        leads: whether the sender runs, as the process leads; only then the last two are known.
        taken, failed: attempts.
        skipped: events that were deleted from the audit log before they were taken.
        waiting: how many events are in the audit log that were not taken yet.
        failing: whether the last attempt failed.
    """

    name: str
    leads: bool = False
    taken: int = 0
    failed: int = 0
    skipped: int = 0
    waiting: int = 0
    failing: bool = False
