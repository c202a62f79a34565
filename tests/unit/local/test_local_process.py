"""The reaper: none of its processes outlives it or its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachemesh.core.errors import LocalStackError
from cachemesh.core.names import Address
from cachemesh.local.pids import ProcessId, start_time
from cachemesh.local.process import Process, ProcessEndedError, await_ready
from cachemesh.local.reaper_client import ReaperClient
from tests.support.process_leaks import await_none, processes_below
from tests.support.waiting import AT_MOST, until

# Two children of its own, one of them in another session, as a daemon would be.
FAMILY = "sleep 600 & setsid sleep 600 & wait"


@pytest.fixture
def reaper() -> Iterator[ReaperClient]:
    reaper = ReaperClient()
    yield reaper
    reaper.close()


def make(reaper: ReaperClient, directory: Path, *argv: str, ready: bool = True) -> Process:
    process = Process(
        name="test",
        kind="redis",
        address=Address("127.0.0.1", 1),
        argv=list(argv),
        log=directory / "test.log",
        cwd=directory,
        env=dict(os.environ),
        probe=lambda _: None if ready else "never ready",
        reaper=reaper,
    )
    process.spawn()
    return process


def in_directory(directory: Path) -> list[str]:
    return processes_below(directory)


def gone(directory: Path) -> bool:
    return not await_none(lambda: in_directory(directory), timeout=AT_MOST)


def test_close_ends_children_grandchildren_and_daemons(tmp_path: Path) -> None:
    reaper = ReaperClient()
    make(reaper, tmp_path, "sh", "-c", FAMILY)
    wait_for_family(tmp_path)
    reaper.close()
    assert in_directory(tmp_path) == []


def test_a_killed_keeper_takes_its_children_along(tmp_path: Path) -> None:
    reaper = ReaperClient()
    process = make(reaper, tmp_path, "sleep", "600")
    assert reaper.id is not None
    os.kill(reaper.id.pid, signal.SIGKILL)
    assert gone(tmp_path)
    with pytest.raises(LocalStackError, match="reaper process is gone"):
        process.poll()
    reaper.close()


def test_a_terminated_keeper_ends_daemons_too(tmp_path: Path) -> None:
    reaper = ReaperClient()
    make(reaper, tmp_path, "sh", "-c", FAMILY)
    wait_for_family(tmp_path)
    reaper_id = reaper.id
    assert reaper_id is not None
    reaper_id.signal(signal.SIGTERM)
    until(lambda: not reaper_id.alive())
    assert in_directory(tmp_path) == []
    reaper.close()


def wait_for_family(directory: Path) -> None:
    def too_few() -> list[str]:
        found = in_directory(directory)
        return [] if len(found) >= 3 else ["not yet"]

    assert await_none(too_few, timeout=AT_MOST) == []


def test_the_thread_that_started_the_keeper_may_end(tmp_path: Path) -> None:
    """PR_SET_PDEATHSIG fires when the spawning thread ends, not only at the end of the process."""
    made: list[ReaperClient] = []
    thread = threading.Thread(target=lambda: made.append(ReaperClient()))
    thread.start()
    thread.join()
    process = make(made[0], tmp_path, "sleep", "600")
    assert process.poll() is None
    made[0].close()
    assert gone(tmp_path)


def test_directory_is_removed_when_the_parent_is_killed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    code = (
        "import sys, time; from pathlib import Path\n"
        "from cachemesh.local.reaper_client import ReaperClient\n"
        f"k = ReaperClient(remove=Path({str(state)!r}))\n"
        "print(k.order(op='spawn', argv=['sleep', '600'], env={'PATH': '/usr/bin:/bin'}, "
        f"cwd={str(state)!r}, log='/dev/null'), flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert b"pid" in parent.stdout.readline()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(state)
    assert await_none(lambda: ["there"] if state.exists() else [], timeout=AT_MOST) == []


def test_exit_codes_and_signals_are_told(reaper: ReaperClient, tmp_path: Path) -> None:
    assert make(reaper, tmp_path, "sh", "-c", "exit 3").wait() == 3
    sleeper = make(reaper, tmp_path, "sleep", "600")
    sleeper.kill()
    assert sleeper.poll() == -signal.SIGKILL


def test_pause_and_resume(reaper: ReaperClient, tmp_path: Path) -> None:
    process = make(reaper, tmp_path, "sleep", "600")

    def state() -> str:
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    process.pause()
    assert await_none(lambda: [] if state() == "T" else ["running"], timeout=AT_MOST) == []
    process.resume()
    assert await_none(lambda: [] if state() != "T" else ["stopped"], timeout=AT_MOST) == []
    with pytest.raises(LocalStackError, match="still runs"):
        process.wait(timeout=0.05)


def test_a_program_that_cannot_start_is_named(reaper: ReaperClient, tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match=r"cannot start /nowhere/program: .*No such file"):
        make(reaper, tmp_path, "/nowhere/program")


def test_a_program_that_ends_at_once_shows_its_log(reaper: ReaperClient, tmp_path: Path) -> None:
    process = make(reaper, tmp_path, "sh", "-c", "echo port is in use; exit 1", ready=False)
    with pytest.raises(ProcessEndedError, match="port is in use") as caught:
        await_ready([process], timeout=AT_MOST)
    assert "exit code 1" in str(caught.value)
    assert caught.value.lost_its_port()


def test_a_program_that_never_answers_is_named(reaper: ReaperClient, tmp_path: Path) -> None:
    process = make(reaper, tmp_path, "sleep", "600", ready=False)
    with pytest.raises(LocalStackError, match=r"not ready after 0\.1 s: never ready"):
        await_ready([process], timeout=0.1)


def test_a_recycled_pid_is_another_process() -> None:
    child = subprocess.Popen(["sleep", "600"])
    known = ProcessId.of(child.pid)
    assert known is not None and known.alive()
    other = ProcessId(child.pid, "0")
    assert not other.alive()
    assert not other.signal(signal.SIGKILL)
    assert child.poll() is None
    assert known.signal(signal.SIGKILL)
    child.wait()
    assert not known.signal(signal.SIGKILL)
    assert start_time(child.pid) is None
