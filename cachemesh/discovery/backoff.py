"""Retries of discovery: of the first look-up, and of a thread's step while the client runs.

Retries of an app's commands are decided by `cachemesh.core.resilience.retry`.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import redis

from cachemesh.core.errors import (
    CacheMeshError,
    MetaserverUnavailableError,
    SentinelUnavailableError,
)
from cachemesh.discovery.wakeup import StopEvent

logger = logging.getLogger("cachemesh.discovery")

_FIRST_DELAY, _MAX_DELAY = 0.2, 5.0
_MAX_DELAY_UNANSWERED = 1.5  # all clients follow again within 2 s of a metaserver being there

T = TypeVar("T")


def retry_while_slow(load: Callable[[float], T], timeout: float, retry_seconds: float) -> T:
    """Call ``load`` until a Sentinel answers in time, with twice the timeout in each attempt.

    Args:
        load: gets the timeout of each Sentinel, in seconds.
        timeout: of the first attempt, in seconds.
        retry_seconds: no further attempt begins after so many seconds.

    Returns:
        The value that ``load`` returns.

    Raises:
        The errors of ``load``. A `SentinelUnavailableError` is raised at once if no Sentinel has
        timed out.
    """
    deadline = time.monotonic() + retry_seconds
    while True:
        try:
            return load(timeout)
        except SentinelUnavailableError as error:
            left = deadline - time.monotonic()
            if not error.timed_out or left <= 0:
                raise
            timeout = min(timeout * 2, left)


def repeat_until_stopped(step: Callable[[], None], stop: StopEvent) -> None:
    """Call ``step`` again and again, after a failure with a growing delay. The body of a thread.

    Args:
        step: its errors are logged, each once in a row as a warning.
        stop: ends the loop once it is set.
    """
    delay, before = _FIRST_DELAY, ""
    while not stop.is_set():
        try:
            step()
        except (CacheMeshError, redis.RedisError, OSError) as error:
            if stop.is_set():
                return
            level = logging.DEBUG if str(error) == before else logging.WARNING
            before = str(error)
            logger.log(level, "%s: %.500s", threading.current_thread().name, error)
            # A metaserver that answers with an error may have too much to do.
            unanswered = isinstance(error, MetaserverUnavailableError)
            longest = _MAX_DELAY_UNANSWERED if unanswered else _MAX_DELAY
            stop.wait(min(delay, longest) * random.uniform(0.5, 1.0))
            delay = min(delay * 2, longest)
        else:
            delay, before = _FIRST_DELAY, ""
