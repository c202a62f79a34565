"""Processes that a test has started end with the test, whether the test passes or fails."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import AnyStr

from tests.support.process_leaks import await_none
from tests.support.waiting import AT_MOST


@contextmanager
def ending(process: subprocess.Popen[AnyStr]) -> Iterator[subprocess.Popen[AnyStr]]:
    """Kill the process at the end of the block, unless the process has ended.

    The context manager of Popen waits for the process, and so forever after a failed assertion.
    """
    with process:
        try:
            yield process
        finally:
            process.kill()


def end_left(find: Callable[[], list[str]]) -> list[str]:
    """Kill the processes that outlive the tests, and return their descriptions.

    A stack has a session of its own, and would run on after the tests.

    Args:
        find: returns a line for each such process, as `tests.support.process_leaks` does.
    """

    def killed() -> list[str]:
        found = find()
        for shown in found:
            with suppress(ProcessLookupError):
                os.kill(int(shown.split()[0]), signal.SIGKILL)
        return found

    left = await_none(find, timeout=AT_MOST)
    await_none(killed, timeout=AT_MOST)
    return left
