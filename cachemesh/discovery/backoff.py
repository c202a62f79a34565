"""Retries of discovery: a first look-up with growing timeouts, and a thread's step without end."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import redis

from cachemesh.core.errors import CacheMeshError, SentinelUnavailableError
from cachemesh.discovery.wakeup import StopEvent

logger = logging.getLogger("cachemesh.discovery")

_RETRY_FIRST, _RETRY_MAX = 0.2, 5.0

T = TypeVar("T")


def retry_while_slow(load: Callable[[float], T], seconds: float, retry_seconds: float) -> T:
    """Return the result of ``load``; call ``load`` again while all Sentinels exceed their timeout.

    Args:
        load: takes the timeout of each Sentinel in seconds.
        seconds: the timeout of the first attempt; each retry doubles the timeout.
        retry_seconds: seconds after which no further attempt begins.

    Returns:
        What ``load`` returns.

    Raises:
        As ``load``. A `SentinelUnavailableError` with ``timed_out`` is raised only once the time is
        up.
    """
    deadline = time.monotonic() + retry_seconds
    while True:
        try:
            return load(seconds)
        except SentinelUnavailableError as error:
            left = deadline - time.monotonic()
            if not error.timed_out or left <= 0:
                raise
            seconds = min(seconds * 2, left)


def repeat_until_stopped(step: Callable[[], None], stop: StopEvent) -> None:
    """Repeat ``step`` until ``stop`` is set. The body of a thread.

    After a failure the next call waits 0.2 s, then up to twice as long each time, at most 5 s, with
    jitter.

    Args:
        step: may raise CacheMeshError, redis.RedisError or OSError, which are logged.
        stop: ends the loop, and the wait between two calls.
    """
    delay = _RETRY_FIRST
    while not stop.is_set():
        try:
            step()
        except (CacheMeshError, redis.RedisError, OSError) as error:
            if stop.is_set():
                return
            logger.warning("%s: %.500s", threading.current_thread().name, error)
            stop.wait(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, _RETRY_MAX)
        else:
            delay = _RETRY_FIRST
