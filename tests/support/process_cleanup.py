"""The end of processes that a test has started, whatever became of the test."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import AnyStr

from cachemesh.local.leaks import await_none
from tests.support.waiting import AT_MOST


@contextmanager
def ending(process: subprocess.Popen[AnyStr]) -> Iterator[subprocess.Popen[AnyStr]]:
    """Kill the process if it has not ended with the block.

    Popen's own context waits for it: after a failed assertion in the block, perhaps forever.
    """
    with process:
        try:
            yield process
        finally:
            process.kill()


def end_left(find: Callable[[], list[str]]) -> list[str]:
    """What should have ended by itself and did not, as `find` (of `leaks`) shows it; now it has.

    A stack belongs to no test process: what nobody ends runs on when the tests are long over.
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
