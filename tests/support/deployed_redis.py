"""Redis and Sentinels as the files of `deploy/redis` configure them, on the loopback."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from cachemesh.local.binaries import find_redis_server
from tests.support.configured_servers import Servers, await_port
from tests.support.metaserver_process import ROOT
from tests.support.waiting import AT_MOST, until

FILES = ROOT / "deploy" / "redis"
USERS = ("app", "metaserver", "replica", "sentinel")
PASSWORDS = {user: f"password-of-{user}" for user in USERS}
_ROOT = "user root on >password-of-root ~* &* +@all"  # who looks from outside


@dataclass
class DeployedRedis:
    """What runs.

    Args:
        directory: of the files, with passwords.

    Attributes:
        instances: ports of all instances.
        sentinels: ports of all Sentinels.
    """

    directory: Path
    servers: Servers
    instances: list[int] = field(default_factory=list)
    sentinels: list[int] = field(default_factory=list)

    def start_shard(self) -> str:
        """Start a master and its replica; return the master's address."""
        master = self.start_server()
        self.start_replica(master)
        return master

    def start_server(self) -> str:
        """Start an instance alone; return its address."""
        self.instances.append(self._start("redis.conf"))
        return f"127.0.0.1:{self.instances[-1]}"

    def start_replica(self, master: str, *more: str) -> str:
        """Start a replica with further lines in its file; return its address."""
        replica = self._start("redis.conf", f"replicaof {master.replace(':', ' ')}", *more)
        self.instances.append(replica)
        until(lambda: self.ask(replica, "INFO", "replication")["master_link_status"] == "up")
        return f"127.0.0.1:{replica}"

    def start_sentinel(self, *more: str) -> str:
        """Start a Sentinel with further lines in its file; return its address."""
        self.sentinels.append(self._start("sentinel.conf", *more))
        return f"127.0.0.1:{self.sentinels[-1]}"

    def ask(self, port: int, *command: str) -> Any:
        """Return the reply to a user who may do everything."""
        with self.client(port) as client:
            return client.execute_command(*command)

    def client(self, port: int) -> Any:
        """Return a client of a server, with the user who may do everything."""
        return redis.Redis(
            port=port,
            username="root",
            password="password-of-root",
            socket_timeout=AT_MOST,
            decode_responses=True,
        )

    def denied(self) -> list[Mapping[str, Any]]:
        """Return what has been denied to any user, at any server."""
        every = [*self.instances, *self.sentinels]
        return [entry for port in every for entry in self.ask(port, "ACL", "LOG")]

    def _start(self, name: str, *more: str) -> int:
        sentinel = name == "sentinel.conf"
        settings = [
            line.replace("/etc/redis", str(self.directory))
            for line in _filled(FILES / name).splitlines()
            if line and not re.match("#|bind |port |dir ", line)
        ]
        # In one directory a master would load what a replica of another shard has copied.
        own = [] if sentinel else ["dbfilename PORT.rdb"]
        port = self.servers.start(["port PORT", *own, *settings, *more], sentinel=sentinel)
        await_port(port)
        return port


def _filled(file: Path) -> str:
    """Return a file with the values of what stands in capitals."""
    text = file.read_text().replace("MAXMEMORY", "64mb")
    for user, password in PASSWORDS.items():
        text = text.replace(f"{user.upper()}_PASSWORD", password)
    return text


@contextmanager
def deployed_redis(directory: Path) -> Iterator[DeployedRedis]:
    """Yield a place where servers can be started, which end with the block."""
    # Before any server starts: one that reads while they are written would know no user.
    for each in FILES.glob("*.acl"):
        (directory / each.name).write_text(f"{_filled(each)}{_ROOT}\n")
    servers = Servers(str(find_redis_server().path), directory)
    try:
        yield DeployedRedis(directory, servers)
    finally:
        servers.stop()


def metaserver_logins(directory: Path) -> list[str]:
    """Return the options by which a metaserver logs in as its user; write what they name.

    Args:
        directory: of the file with the password.
    """
    password = directory / "metaserver.password"
    password.write_text(PASSWORDS["metaserver"])
    return [
        f"--{server}-{what}"
        for server in ("redis", "sentinel")
        for what in ("username=metaserver", f"password-file={password}")
    ]
