"""The demo as a user runs it; no process is left at its end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.process_cleanup import end_left, ending
from tests.support.process_leaks import processes_below
from tests.support.waiting import AT_MOST

COMMAND = [sys.executable, "-m", "cachemesh_command.demo"]
ROOT = Path(__file__).resolve().parents[3]
PACED = [sys.executable, "-m", "tests.support.paced_demo"]


@contextmanager
def _demo(
    directory: Path, *arguments: str, command: Sequence[str] = COMMAND
) -> Iterator[subprocess.Popen[str]]:
    """Run the demo with pipes; check at the end of the block that its stack is gone."""
    process = subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(directory), "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with ending(process):
            yield process
    finally:
        left = end_left(lambda: processes_below(directory))
    assert not left
    assert list(directory.iterdir()) == []


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An empty directory for the demo's stack."""
    made = tmp_path / "stack"
    made.mkdir()
    return made


def _read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} never came; it said:\n{seen}")


def _happened_at(output: str, what: str) -> float:
    found = re.search(rf"^ *([\d.]+) s  .*{what}", output, re.MULTILINE)
    assert found is not None, f"{what!r} is not in:\n{output}"
    return float(found[1])


def test_the_whole_demo(directory: Path) -> None:
    with _demo(directory, command=PACED) as process:
        output, errors = process.communicate(timeout=4 * AT_MOST)
        assert (process.returncode, errors) == (0, ""), output + errors
    assert re.search(r"Dashboard: +http://127\.0\.0\.1:\d+", output)
    assert "Log in with the token in /" in output
    killed = _happened_at(output, "killed cache-1's master")
    promoted = _happened_at(output, "promoted cache-1's replica")
    added = _happened_at(output, r"added cache-3 .* 4,096 slots \(25%\)")
    assert killed < promoted < added < _happened_at(output, "load ends")
    shown = re.search(r"operations +│ ([\d,]+) in", output)
    assert shown is not None
    assert int(shown[1].replace(",", "")) > 1000
    assert re.search(r"workload +│ Zipf", output)
    assert re.search(r"wrong values +│ 0 ", output)
    assert len(re.findall(r"│ cache-\d ", output)) == 4


def test_ctrl_c_in_the_middle_of_a_trace_is_quiet(tmp_path: Path, directory: Path) -> None:
    trace = tmp_path / "trace.txt"
    trace.write_text("".join(f"page:{number}\n" for number in range(500)))
    with _demo(directory, "--trace", str(trace)) as process:
        _read_until(process, "killed cache-1's master")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=AT_MOST)
        assert (process.returncode, errors) == (130, "")


def test_a_damaged_trace_is_refused_before_anything_starts(tmp_path: Path, directory: Path) -> None:
    trace = tmp_path / "trace.xz"
    trace.write_bytes(b"\xfd7zXZ\x00 and no more")
    with _demo(directory, "--trace", str(trace)) as process:
        output, errors = process.communicate(timeout=AT_MOST)
        assert (process.returncode, output) == (1, "")
    assert str(trace) in errors
    assert "Traceback" not in errors
