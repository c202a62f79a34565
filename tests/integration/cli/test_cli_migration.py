"""`cachemesh migration`: a move is watched, slowed down, given up and listed."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from cachemesh import CacheMesh
from cachemesh.cli import main as cli
from cachemesh.local import LocalStack
from tests.support.process_cleanup import ending
from tests.support.terminal import COMMAND, REPOSITORY, Run, Terminal, in_process
from tests.support.waiting import AT_MOST, until

KEYS = 4000
SLOW, NO_BOUND = "100", "0"


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=0, spares=1, sentinels=1, dashboard=False) as started:
        with CacheMesh.from_url(started.info["url"], token=started.token) as client:
            client.mset({f"key:{number}": "x" * 100 for number in range(KEYS)})
        yield started


@pytest.fixture
def run(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    return in_process(stack.info["env"], monkeypatch, capsys)


@pytest.fixture
def moving(stack: LocalStack, run: Run) -> Iterator[dict[str, Any]]:
    """The resize that adds a shard, slowly, once keys move."""
    until(lambda: not run("pool", "status")[1]["sweeps"])
    spare = stack.info["spares"][0]["master"]
    how = ("--strategy", "move", "--keys-per-second", SLOW, "--yes")
    assert run("shard", "add", "late", spare, *how)[0] == 0
    yield until(lambda: found if (found := status_of(run)) and found["moved"] else None)
    run("migration", "throttle", NO_BOUND)
    until(lambda: status_of(run) is None)
    if "late" in [each["name"] for each in run("pool", "show")[1]["placement"]["shards"]]:
        until(lambda: not run("pool", "status")[1]["sweeps"])
        assert run("shard", "remove", "late", "--strategy", "move", "--yes")[0] == 0
        until(lambda: status_of(run) is None)


def status_of(run: Run) -> dict[str, Any] | None:
    """Return what `migration status` says, or None without a migration."""
    code, found, _ = run("migration", "status")
    assert code in (0, 4)
    return found if code == 0 else None


def table_of(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.run(arguments) in (0, 5)
    return capsys.readouterr().out


def test_without_one_there_is_nothing_to_see(run: Run) -> None:
    for verb in ("status", "watch"):
        code, found, err = run("migration", verb)
        assert (code, found) == (4, None)
        assert "no resize is under way" in err and "next: " in err
    code, found, _ = run("migration", "list")
    assert (code, found["under_way"]) == (0, [])
    assert run("migration", "throttle")[0] == 2


def test_it_is_told_of_wherever_the_pool_is_shown(
    moving: dict[str, Any], run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [(each["shard"], each["to"]) for each in moving["sources"]] == [
        ("cache-0", ["late"]),
        ("cache-1", ["late"]),
    ]
    assert (moving["actor"], moving["keys_per_second"]) == ("token:admin", int(SLOW))
    for command in (("pool", "status"), ("shard", "list")):
        shown = table_of(*command, capsys=capsys)
        assert "migration: moving, " in shown and "keys moved" in shown
    shown = table_of("migration", "status", capsys=capsys)
    for words in ("add shard late", "token:admin", "100 keys/s", "longest hold", "why it waits"):
        assert words in shown
    assert run("migration", "throttle", "--max-latency", "30")[0] == 0
    found = status_of(run)
    assert found is not None
    assert (found["keys_per_second"], found["max_latency"]) == (int(SLOW), 30)
    (listed,) = run("migration", "list")[1]["under_way"]
    assert (listed["pool"], listed["id"]) == ("cache", moving["id"])
    assert run("migration", "list", "--pool", "nobody")[0] == 4


def test_a_watch_ends_when_the_resize_is_done(moving: dict[str, Any], run: Run) -> None:
    terminal = Terminal("migration", "watch", columns=80)
    terminal.until("keys/s")
    assert run("migration", "throttle", NO_BOUND)[0] == 0
    assert terminal.end() == 0, terminal.seen
    assert "done: add shard late" in terminal.seen
    ended = run("migration", "list")[1]["ended"][0]
    assert (ended["how"], ended["asked_by"]) == ("done", "token:admin")
    assert ended["moved"] > 0


def watching() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "-o", "json", "migration", "watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )


def test_a_watch_waits_for_a_metaserver_and_tells_that_the_resize_was_given_up(
    moving: dict[str, Any], stack: LocalStack, run: Run
) -> None:
    with ending(watching()) as watch:
        assert watch.stdout is not None and watch.stderr is not None
        assert json.loads(watch.stdout.readline())["id"] == moving["id"]
        metaserver = stack.process(stack.info["metaservers"][0])
        metaserver.kill(signal.SIGKILL)
        assert "trying again" in watch.stderr.readline()
        metaserver.restart()
        until(lambda: run("migration", "abort", "--yes")[0] == 0)
        assert run("migration", "throttle", NO_BOUND)[0] == 0
        out, err = watch.communicate(timeout=AT_MOST)
    *_, last = out.splitlines()
    assert json.loads(last)["ended"]["how"] == "turned back"
    assert watch.returncode == 1
    assert "token:admin gave up: add shard late" in err and "Traceback" not in err
    ended = run("migration", "list")[1]["ended"][0]
    assert (ended["how"], ended["given_up_by"]) == ("turned back", "token:admin")


def test_ctrl_c_ends_a_watch_quietly(moving: dict[str, Any]) -> None:
    with ending(watching()) as watch:
        assert watch.stdout is not None
        watch.stdout.readline()
        watch.send_signal(signal.SIGINT)
        assert watch.communicate(timeout=AT_MOST)[1].strip() == ""
    assert watch.returncode == 130
