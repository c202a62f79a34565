"""Ctrl-C during a command's imports ends it as a later Ctrl-C does."""

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
sys.meta_path.insert(0, Interrupts())
"""
_COMMAND = """
found = importlib.metadata.entry_points(group="console_scripts", name="cachemesh")
begin = next(iter(found)).load()
begin()
"""
_DEMO = """
import runpy
runpy.run_module("cachemesh_command.demo", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("begin", "module"),
    [
        (_COMMAND, "redis"),
        (_COMMAND, "cachemesh.sync.client"),
        (_COMMAND, "click"),
        (_COMMAND, "cachemesh.cli.replay"),
        (_DEMO, "cachemesh.sync.client"),
        (_DEMO, "cachemesh.demo.story"),
    ],
)
def test_it_ends_quietly(begin: str, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED_BY_IMPORT_OF + begin, module],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")
