"""Runs a stack in this process until a signal stops it, for `cachemesh up` with and without -d."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from cachemesh.core.errors import LocalStackError
from cachemesh.local.stack import LocalStack

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_INTERVAL = 0.25  # seconds between two looks at the processes


class StopRequestedError(BaseException):
    """A signal has asked this process to stop. Like KeyboardInterrupt, it is no `Exception`."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


def run_in_foreground(
    stack: LocalStack,
    ready: Callable[[dict[str, Any]], None],
    progress: Callable[[str], None],
) -> int:
    """Start a stack and stop it on SIGINT, SIGTERM or SIGHUP.

    A process of the stack that ends meanwhile is reported to `progress` and not restarted: people
    kill processes of a local stack on purpose.

    Args:
        stack: a stack that is not started.
        ready: takes the stack's info once everything works.
        progress: takes a line about each step, and about each process that ended.

    Returns:
        0 after a signal to the running stack; 128 + the signal's number if the signal came before
        the stack was ready.

    Raises:
        LocalStackError: the stack did not start, or its reaper was killed.
    """
    requests: list[StopRequestedError] = []

    def request_stop(number: int, frame: FrameType | None) -> None:
        # Stopping takes seconds at most; a second signal must not interrupt it.
        for each in _STOPPING:
            signal.signal(each, signal.SIG_IGN)
        # Kept in a list too: an exception raised while Python runs a finalizer is lost.
        requests.append(StopRequestedError(number))
        if not up:  # later it is looked for: raised anywhere, it may leave a lock held for ever
            raise requests[0]

    up = False
    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup has it ignored
            signal.signal(number, request_stop)
    try:
        stack.start(progress, takes_sigterm=True)
        _raise_first(requests)
        up = True
        ready(stack.info)
        _watch(stack, progress, requests)
    except StopRequestedError as request:
        progress(f"stopping ({request})")
        return 0 if up else 128 + request.number
    finally:
        stack.stop()
    raise LocalStackError("the local stack's reaper process was killed, and all others with it")


def _raise_first(requests: list[StopRequestedError]) -> None:
    if requests:
        raise requests[0]


def _watch(
    stack: LocalStack, progress: Callable[[str], None], requests: list[StopRequestedError]
) -> None:
    """Report ended processes until the reaper has ended.

    Raises:
        StopRequestedError: a signal has come.
    """
    ended: set[str] = set()
    while stack.alive():
        _raise_first(requests)
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
        time.sleep(_POLL_INTERVAL)
