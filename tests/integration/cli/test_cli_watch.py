"""--watch of lists and states: on a terminal in place, in a pipe one after the other."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest

from cachemesh.local import LocalStack
from tests.support.process_cleanup import ending
from tests.support.terminal import COMMAND, REPOSITORY, Run, Terminal, in_process
from tests.support.waiting import AT_MOST

WATCHING = ("pool", "status", "--watch", "--interval", "0.2")


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, replicas=1, sentinels=1, dashboard=False) as started:
        yield started


@pytest.fixture
def run(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    return in_process(stack.info["env"], monkeypatch, capsys)


def test_a_terminal_shows_the_state_in_place_until_ctrl_c(stack: LocalStack) -> None:
    metaserver = stack.process(stack.info["metaservers"][0])
    shown = Terminal(*WATCHING, env=stack.info["env"])
    shown.until("every 0.2 s, until Ctrl-C")
    shown.until("cache-0")
    metaserver.kill()
    shown.until("looking again")
    metaserver.restart(AT_MOST)
    shown.raw = b""
    shown.until("cache-0")
    assert shown.answer("") == 130
    assert b"\x1b[?1049l" in shown.raw  # what the terminal had shown before is back
    assert "Traceback" not in shown.seen


def test_a_pipe_gets_one_state_after_the_other(stack: LocalStack, run: Run) -> None:
    with ending(
        subprocess.Popen(
            [*COMMAND, *WATCHING, "-o", "yaml"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**stack.info["env"], "PYTHONUNBUFFERED": "1"},
        )
    ) as process:
        assert process.stdout and process.stderr
        versions = (line for line in process.stdout if line.startswith("version:"))
        first = next(versions)
        run("pool", "set", "poll_interval=4")
        while next(versions) == first:
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(AT_MOST) == 130
        assert "Traceback" not in process.stderr.read()


def test_what_is_wrong_at_the_first_look_ends_it(run: Run) -> None:
    code, _, err = run("pool", "status", "absent", "--watch")
    assert (code, "next: cachemesh pool list" in err) == (4, True)
    code, _, err = run("pool", "list", "--interval", "1")
    assert (code, "--interval is for --watch" in err) == (2, True)
