"""Trying again: with more time for the first look-up, and for ever in a thread that follows."""

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
    """What ``load`` returns, which is called again while all Sentinels let their time pass.

    Args:
        load: gets the seconds that each Sentinel has.
        seconds: of the first attempt; each further one gives them twice as long.
        retry_seconds: seconds after which no further attempt is begun.

    Raises:
        As ``load``.
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
    """Body of a thread: do ``step`` over and over, after a pause that grows where it fails."""
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
