"""What failed, whether it is tried again, and when: the retry rules of both clients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import redis

_RETRY_SECONDS = 10.0  # for a command without a time limit

_BROKEN_MOST = 2
_FAIR = 0.2  # of the usual time to connect
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1


@dataclass(frozen=True)
class Timeouts:
    """In seconds; None is for ever.

    Attributes:
        reply: for a command, with all that it takes.
        connect: to connect and say hello.
    """

    reply: float | None
    connect: float | None

    def connecting(self, within: float | None) -> float | None:
        """Seconds for each step of connecting, where only ``within`` are left."""
        bounds = [s for s in (self.reply, self.connect, within) if s is not None]
        shortest = min(bounds, default=math.inf)
        return None if shortest == math.inf else max(shortest, 0.001)

    def hurried(self, within: float | None) -> bool:
        """Whether that is so little time to connect that a failure tells nothing."""
        usual = self.connecting(None)
        return within is not None and within < (math.inf if usual is None else usual) * _FAIR


class Failure(Enum):
    """How an attempt failed. After BROKEN and NO_REPLY the command may have run, else it has not.

    NOT_SENT: there is no connection.
    NOT_MASTER: the instance is a replica, or has just become one.
    NOT_READY: the instance loads its data, or has lost its master.
    BROKEN: the connection broke before the reply came.
    NO_REPLY: no reply came in time.
    """

    NOT_SENT = 1
    NOT_MASTER = 2
    NOT_READY = 3
    BROKEN = 4
    NO_REPLY = 5


_UNDONE: dict[type[Exception], Failure] = {
    redis.exceptions.ReadOnlyError: Failure.NOT_MASTER,
    redis.exceptions.BusyLoadingError: Failure.NOT_READY,
    redis.exceptions.MasterDownError: Failure.NOT_READY,
    redis.exceptions.ClusterDownError: Failure.NOT_READY,
    redis.exceptions.TryAgainError: Failure.NOT_READY,
}

_DISCARDED = "Transaction discarded because of: "  # by EXEC, where all before was queued
_UNDONE_TEXTS = {
    "UNBLOCKED": Failure.NOT_MASTER,  # it waited for a key while the master became a replica
    "READONLY": Failure.NOT_MASTER,
    "MASTERDOWN": Failure.NOT_READY,
    "CLUSTERDOWN": Failure.NOT_READY,
    "LOADING": Failure.NOT_READY,
}


def refused(reply: Exception) -> Failure | None:
    """Why an error reply means that the command has not run and belongs elsewhere, or later.

    Returns:
        None if the reply is the command's own business.
    """
    failure = _UNDONE.get(reply.__class__)
    if failure is None:
        text = str(reply).removeprefix(_DISCARDED)
        return next((f for start, f in _UNDONE_TEXTS.items() if text.startswith(start)), None)
    return failure


def lacks_replicas(reply: object) -> bool:
    """Whether an error reply means that a write was not run for want of replicas.

    That is the master's own ``min-replicas-to-write``: no other instance would take it either.
    """
    return isinstance(reply, redis.ResponseError) and (
        str(reply).removeprefix(_DISCARDED).startswith("NOREPLICAS")
    )


def retry_until(deadline: float, now: float) -> float:
    """Until when a command is tried again, which may be shorter than one attempt may take."""
    return now + _RETRY_SECONDS if deadline == math.inf else deadline


class Attempts:
    """One command on its way: counts its attempts.

    Args:
        repeatable: it may run twice: it only reads, or the app has said so.
        deadline: when the app waits no longer, on the clock of ``now``.
    """

    __slots__ = ("_broken", "_pause", "_repeatable", "deadline")

    def __init__(self, repeatable: bool, deadline: float) -> None:
        self._repeatable = repeatable
        self.deadline = deadline
        self._pause = 0.0
        self._broken = 0

    def pause(self, failure: Failure, now: float, chance: float) -> float | None:
        """Seconds to wait before the next attempt, unless another master is known before.

        Args:
            failure: of the last attempt.
            now: seconds.
            chance: from 0 to 1, so that threads do not come at once.

        Returns:
            None: it is not tried again.
        """
        if failure in (Failure.BROKEN, Failure.NO_REPLY):
            self._broken += 1
            if not self._repeatable or self._broken > _BROKEN_MOST:
                return None
        pause = self._pause * (0.5 + chance / 2)
        self._pause = min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        return pause if now + pause < self.deadline else None
