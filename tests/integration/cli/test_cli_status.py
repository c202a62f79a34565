"""`cachemesh status` of stacks that are whole, hurt and dead, and what it advises."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

from cachemesh.local.binaries import find_redis_server
from tests.support.cli_processes import SMALL, Run, check_states, stack_status
from tests.support.waiting import until


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
    examined = run("doctor", "-o", "json", **env)
    report = check_states(examined)
    assert report["token"] == report["configuration"] == "ok"
    assert json.loads(examined.stdout)["findings"] == []
    assert [state for name, state in report.items() if name.startswith("master ")] == ["ok"] * 2
    clients = json.loads(run("client", "list", "-o", "json", **env).stdout)["clients"]
    assert clients == [], "a resize would wait for those who only looked"
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
