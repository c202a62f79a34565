"""Work on several things at once, on each of them by one worker at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import redis

from cachemesh.core.errors import CacheMeshError

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

log = logging.getLogger("metaserver")


class KeyedWorkers:
    """Workers of a loop, as a context manager that waits for the last of them.

    Args:
        what: they do, for their threads and for the log, such as "sweep".
        at_once: how many work at the same time.
    """

    def __init__(self, what: str, at_once: int) -> None:
        self._what = what
        self._executor = ThreadPoolExecutor(at_once, thread_name_prefix=what)
        self._working: dict[str, Future[None]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()

    def begin(self, due: Mapping[str, Callable[[], None]]) -> None:
        """Begin the work that is due, except on what is still being worked on.

        An error that ended a worker is logged; what is due at the next call is begun again.

        Args:
            due: what to work on, in words that tell it from all else -> the work.
        """
        for on in [on for on, work in self._working.items() if work.done()]:
            error = self._working.pop(on).exception()
            if isinstance(error, (CacheMeshError, redis.RedisError)):
                log.error("%s of %s: %s", self._what, on, error)
            elif error is not None:
                log.error("%s of %s is tried again", self._what, on, exc_info=error)
        for on, work in due.items():
            if on not in self._working:
                self._working[on] = self._executor.submit(work)
