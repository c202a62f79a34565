"""The servers of `deploy/compose`, run by its own scripts without containers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh.local.ports import Ports
from tests.support.configured_servers import await_port
from tests.support.metaserver_process import ROOT
from tests.support.waiting import AT_MOST, until

DIRECTORY = ROOT / "deploy" / "compose"


class Container:
    """What one container runs, with directories of its own.

    Args:
        directory: in which `secrets` and one directory for each container are.
        kind: "redis" or "sentinel".
        options: settings of the server.
        environment: further variables; NAME is the name of the server, 127.0.0.1 without.
    """

    def __init__(
        self, directory: Path, server: str, kind: str, *options: str, **environment: str
    ) -> None:
        self.port = Ports().take()
        self.data = directory / f"data-{self.port}"
        self.data.mkdir()
        self._environment = {
            **os.environ,
            "DATA": str(self.data),
            "SECRETS": str(directory / "secrets"),
            "WAIT": "0",
            "REDIS_SERVER": server,
            **environment,
        }
        self._command = [
            *(str(DIRECTORY / "run-redis"), kind, environment.get("NAME", "127.0.0.1")),
            *("--port", str(self.port)),
            *options,
        ]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.DEVNULL
        )
        await_port(self.port)

    def healthy(self) -> bool:
        command = [str(DIRECTORY / "run-redis"), "ping"]
        return subprocess.run(command, env=self._environment, check=False).returncode == 0

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(AT_MOST)


@pytest.fixture
def started(tmp_path: Path, redis_server: str) -> Iterator[list[Container]]:
    environment = {**os.environ, "INTO": str(tmp_path / "secrets")}
    subprocess.run([DIRECTORY / "make-secrets", "64mb"], env=environment, check=True)
    running: list[Container] = []
    try:
        running.append(Container(tmp_path, redis_server, "redis"))
        master = f"127.0.0.1 {running[0].port}"
        running.append(Container(tmp_path, redis_server, "redis", "--replicaof", master))
        running.append(Container(tmp_path, redis_server, "sentinel"))
        yield running
    finally:
        for each in running:
            each.stop()


def test_servers_log_in_at_one_another(started: list[Container], tmp_path: Path) -> None:
    master, replica, sentinel = started
    assert all(until(each.healthy) for each in started)
    metaserver = client(tmp_path, replica.port, "metaserver")
    until(lambda: metaserver.info("replication")["master_link_status"] == "up")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=master.port).ping()
    told = ("SENTINEL", "MONITOR", "cache-0", "127.0.0.1", str(master.port), "1")
    assert client(tmp_path, sentinel.port, "metaserver").execute_command(*told)


def test_a_replica_that_became_the_master_stays_it_over_a_restart(
    started: list[Container], tmp_path: Path
) -> None:
    _, replica, _ = started
    metaserver = client(tmp_path, replica.port, "metaserver")
    until(lambda: metaserver.info("replication")["master_link_status"] == "up")
    metaserver.execute_command("REPLICAOF", "NO", "ONE")
    metaserver.config_rewrite()
    replica.stop()
    replica.start()
    assert metaserver.info("replication")["role"] == "master"
    assert "replica-announce-ip" in (replica.data / "server.conf").read_text()


def test_a_new_server_asks_the_sentinels_whom_it_replicates(
    started: list[Container], tmp_path: Path, redis_server: str
) -> None:
    _, other, sentinel = started
    told = ("SENTINEL", "MONITOR", "cache-0", "127.0.0.1", str(other.port), "1")
    assert client(tmp_path, sentinel.port, "metaserver").execute_command(*told)
    new = Container(
        *(tmp_path, redis_server, "redis"),
        NAME="127.0.0.2",
        SHARD="cache-0",
        SENTINELS="127.0.0.1",
        SENTINEL_PORT=str(sentinel.port),
        FIRST_MASTER="127.0.0.3",
    )
    started.append(new)
    lines = (new.data / "server.conf").read_text().splitlines()
    assert f"replicaof 127.0.0.1 {other.port} " in lines


def test_a_server_that_no_sentinel_knows_replicates_the_first_one(
    started: list[Container], tmp_path: Path, redis_server: str
) -> None:
    sentinel = str(started[2].port)
    asked = {"SHARD": "cache-0", "SENTINELS": "127.0.0.1", "SENTINEL_PORT": sentinel}
    for first, replicates in (("127.0.0.1", False), ("127.0.0.3", True)):
        new = Container(tmp_path, redis_server, "redis", FIRST_MASTER=first, **asked)
        started.append(new)
        text = (new.data / "server.conf").read_text()
        assert (f"\nreplicaof {first} 6379\n" in text) is replicates


def client(directory: Path, port: int, user: str) -> Any:
    password = (directory / "secrets" / f"{user}.password").read_text()
    return redis.Redis(port=port, username=user, password=password)
