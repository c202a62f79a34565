"""Ctrl-C while the `cachemesh` command is still being imported ends it as one later does."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_INTERRUPTED_BY_IMPORT_OF = """
import importlib.metadata, os, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
found = importlib.metadata.entry_points(group="console_scripts", name="cachemesh")
sys.meta_path.insert(0, Interrupts())
begin = next(iter(found)).load()
begin()
"""


@pytest.mark.parametrize("module", ["redis", "cachemesh.client", "click", "cachemesh.cli.replay"])
def test_it_ends_quietly(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED_BY_IMPORT_OF, module],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")
