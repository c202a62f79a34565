"""A stack that runs until somebody stops it: what `cachemesh up` does, detached or not."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from cachemesh.core.errors import LocalStackError
from cachemesh.local.stack import LocalStack

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_EVERY = 0.25  # seconds between two looks at the processes


class StopRequestedError(BaseException):
    """A signal asked us to stop; like KeyboardInterrupt no `except Exception` stands in its way."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


def run(
    stack: LocalStack,
    ready: Callable[[dict[str, Any]], None],
    progress: Callable[[str], None],
) -> int:
    """Start the stack, call `ready` with its info, stop it on SIGINT, SIGTERM or SIGHUP.

    Processes that end meanwhile are told to `progress` and left as they are: killing one is what
    a local stack is good for.

    Returns:
        0 once stopped, 128 + the signal's number when stopped before it was ready.

    Raises:
        LocalStackError: it did not start, or its keeper was killed.
    """
    requests: list[StopRequestedError] = []

    def request_stop(number: int, frame: FrameType | None) -> None:
        # Cleaning up takes seconds at most; a second signal must not break it off halfway.
        for each in _STOPPING:
            signal.signal(each, signal.SIG_IGN)
        # Noted as well: what is raised while Python runs a finalizer is lost.
        requests.append(StopRequestedError(number))
        raise requests[0]

    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's wish is respected
            signal.signal(number, request_stop)
    up = False
    try:
        stack.start(progress, takes_sigterm=True)
        _heed(requests)
        up = True
        ready(stack.info)
        _watch(stack, progress, requests)
    except StopRequestedError as request:
        progress(f"stopping ({request})")
        return 0 if up else 128 + request.number
    finally:
        stack.stop()
    raise LocalStackError("the local stack's keeper process was killed, and all others with it")


def _heed(requests: list[StopRequestedError]) -> None:
    if requests:
        raise requests[0]


def _watch(
    stack: LocalStack, progress: Callable[[str], None], requests: list[StopRequestedError]
) -> None:
    """Until the keeper is gone. Raises StopRequestedError where that was lost before."""
    ended: set[str] = set()
    while stack.alive():
        _heed(requests)
        for process in stack.processes:
            try:
                code = process.poll()
            except LocalStackError:
                return
            if code is None:
                ended.discard(process.name)
            elif process.name not in ended:
                ended.add(process.name)
                how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                progress(f"{process.name} ({process.address}) ended: {how}; log: {process.log}")
        time.sleep(_LOOK_EVERY)
