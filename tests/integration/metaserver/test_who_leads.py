"""Who leads, and which metaservers there are, as load balancers and operators are told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.metaserver_process import Api, Metaserver, environment
from tests.support.waiting import until

OPTIONS = ("--session-timeout", "4", "--advertise")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Metaserver]]:
    found = [Metaserver(tmp_path, *OPTIONS, f"meta{number}:7700") for number in (1, 2)]
    with ExitStack() as running:
        for server in found:
            running.enter_context(server)
        yield found


def test_who_leads(servers: list[Metaserver]) -> None:
    apis = [server.api() for server in servers]
    anybody = [Api(api.address) for api in apis]

    def statuses() -> list[int]:
        return [api("GET", "/leader").status for api in anybody]

    until(lambda: sorted(statuses()) == [200, 503])
    first = statuses().index(200)
    leading, other = servers[first], servers[1 - first]
    term = anybody[first]("GET", "/leader").json
    refused = anybody[1 - first]("GET", "/leader")
    assert refused.problem == "not-leader"
    assert f"meta{first + 1}:7700 leads" in refused.json["detail"]
    listed = apis[1 - first]("GET", "/v1/metaservers").json
    assert {"epoch": term["epoch"], "since": term["since"]}.items() <= listed["leader"].items()
    found = {each["address"]: (each["leads"], each["self"]) for each in listed["metaservers"]}
    assert found == {f"meta{first + 1}:7700": (True, False), f"meta{2 - first}:7700": (False, True)}
    command = [sys.executable, "-m", "cachemesh_command", "metaserver", "list"]
    url = {"CACHEMESH_URL": f"cachemesh://{apis[0].address},{apis[1].address}/cache"}
    environ = environment() | url | {"CACHEMESH_TOKEN": servers[0].token()}
    for options in ([], ["-o", "json"]):
        done = subprocess.run(
            [*command, *options], env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "meta1:7700" in done.stdout
        assert "meta2:7700" in done.stdout
    assert json.loads(done.stdout)["leader"] == listed["leader"]

    # One that stands still is replaced, and finds that out when it goes on.
    (worker,) = [
        int(each["owner"].split(":")[1]) for each in listed["metaservers"] if each["leads"]
    ]
    subprocess.run(["kill", f"-{signal.SIGSTOP.value}", str(worker)], check=True)
    try:
        until(lambda: anybody[1 - first]("GET", "/leader").status == 200)
    finally:
        subprocess.run(["kill", f"-{signal.SIGCONT.value}", str(worker)], check=True)
    until(lambda: anybody[first]("GET", "/leader").status == 503)
    later = other.api()("GET", "/v1/metaservers").json["leader"]
    assert later["epoch"] > term["epoch"]
    until(lambda: "the lead is lost" in leading.log.read_text())
