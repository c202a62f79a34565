"""A stack stops on a signal, whatever Python executes when the signal comes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.waiting import AT_MOST

_RUN = """
import os, signal, sys
from cachemesh.local.foreground import run_in_foreground

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):
            pass  # here the handler runs, and what it raises is ignored

class Stack:
    info = {}
    processes = []

    def start(self, progress, takes_sigterm):
        if sys.argv[1] == "start":
            Finalized()

    def alive(self):
        if sys.argv[1] == "watch":
            Finalized()
        return True

    def stop(self):
        print("stopped", flush=True)

sys.exit(run_in_foreground(Stack(), lambda info: print("ready", flush=True), print))
"""


@pytest.mark.parametrize(
    ("when", "code", "said"),
    [
        ("start", 128 + signal.SIGTERM, ["stopping (SIGTERM)", "stopped"]),
        ("watch", 0, ["ready", "stopping (SIGTERM)", "stopped"]),
    ],
)
def test_a_signal_within_a_finalizer_is_not_lost(when: str, code: int, said: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _RUN, when],
        capture_output=True,
        text=True,
        timeout=AT_MOST,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()) == (code, said), done.stderr
