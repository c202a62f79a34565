"""How to start each kind of process: its configuration file, its command line and its probe."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cachemesh.core.errors import LocalStackError
from cachemesh.core.names import Address
from cachemesh.local import configs, probes
from cachemesh.local.binaries import PIP_LINE, RedisServer, zookeeper_command
from cachemesh.local.ports import HOST
from cachemesh.local.state import StateDirectory
from cachemesh.local.tls import StackTls, metaserver_tls_of


@dataclass(frozen=True)
class Recipe:
    """How to start one process.

    Attributes:
        name: the process's name, unique within the stack.
        kind: "redis", "sentinel", "metaserver", "dashboard" or "zookeeper".
        probe: returns None when the process at an address answers, else what is missing.
        command: writes the configuration for a port and returns the command line.
        port: the port to listen on; None: any free one.
    """

    name: str
    kind: str
    probe: Callable[[Address], str | None]
    command: Callable[[int], list[str]]
    port: int | None = None


class Recipes:
    """The recipes of one stack, whose configuration and data lie in its state directory.

    Args:
        directory: of the stack.
        tls: its certificates; None: no server speaks TLS.
    """

    def __init__(self, directory: StateDirectory, tls: StackTls | None = None) -> None:
        self._directory = directory
        self._tls = tls

    def redis(
        self,
        server: RedisServer,
        name: str,
        replica_of: Address | None = None,
        port: int | None = None,
        extra: Sequence[str] = (),
    ) -> Recipe:
        """Return the recipe of a redis-server.

        Args:
            server: the binary.
            name: the process's name.
            replica_of: the master that the server replicates; None: the server is a master.
            port: the port to listen on; None: any free one.
            extra: further lines of its configuration file.
        """
        tls = self._tls

        def command(port: int) -> list[str]:
            data = self._data(name)
            conf = self._write_conf(name, configs.redis_conf(port, data, replica_of, extra, tls))
            return [str(server.path), str(conf)]

        probe = probes.replica_attached if replica_of else probes.answers_ping
        return Recipe(name, "redis", partial(probe, tls=tls), command, port)

    def sentinel(self, server: RedisServer, name: str) -> Recipe:
        """Return the recipe of a Sentinel that monitors nothing yet."""

        def command(port: int) -> list[str]:
            text = configs.sentinel_conf(port, self._data(name), self._tls)
            return [str(server.path), str(self._write_conf(name, text)), "--sentinel"]

        return Recipe(name, "sentinel", partial(probes.answers_ping, tls=self._tls), command)

    def metaserver(
        self, name: str, port: int | None = None, zookeeper: str | None = None
    ) -> Recipe:
        """Return the recipe of a metaserver for loopback addresses.

        Args:
            zookeeper: the ensemble with its store, and its chroot unless that is /cachemesh; None
                for the stack's SQLite file.
        """
        tls = self._tls
        store = ("--db", str(self._directory / "meta.db"))
        if zookeeper is not None:
            there = zookeeper if "/" in zookeeper else f"{zookeeper}/cachemesh"
            store = ("--zookeeper", there)

        def command(port: int) -> list[str]:
            return [
                *(sys.executable, "-m", _installed("metaserver")),
                *("--listen", f"{HOST}:{port}"),
                *store,
                *("--token-file", str(self._directory.token_file)),
                *("--allow-network", "127.0.0.0/8", "--allow-network", "::1/128"),
                *(() if tls is None else tls.metaserver_words()),
            ]

        probe = partial(probes.answers_ready, tls=metaserver_tls_of(tls))
        return Recipe(name, "metaserver", probe, command, port)

    def dashboard(self, metaservers: Sequence[Address], port: int | None = None) -> Recipe:
        """Return the recipe of a dashboard that reads from all given metaservers."""
        tls = self._tls
        scheme = "http" if tls is None else "https"

        def command(port: int) -> list[str]:
            return [
                *(sys.executable, "-m", _installed("dashboard")),
                *("--listen", f"{HOST}:{port}"),
                *("--metaserver", ",".join(f"{scheme}://{address}" for address in metaservers)),
                *(() if tls is None else tls.dashboard_words()),
            ]

        probe = partial(probes.answers_http, tls=metaserver_tls_of(tls))
        return Recipe("dashboard", "dashboard", probe, command, port)

    def zookeeper(self) -> Recipe:
        """Return the recipe of a standalone ZooKeeper."""

        def command(port: int) -> list[str]:
            text = configs.zoo_cfg(port, self._data("zookeeper"))
            return zookeeper_command(self._write_conf("zookeeper", text))

        return Recipe("zookeeper", "zookeeper", probes.answers_zookeeper, command)

    def _data(self, name: str) -> Path:
        data = self._directory / "data" / name
        data.mkdir(mode=0o700, exist_ok=True)
        return data

    def _write_conf(self, name: str, text: str) -> Path:
        path = self._directory / "conf" / f"{name}.conf"
        path.touch(mode=0o600)
        path.write_text(text)
        return path


def _installed(package: str) -> str:
    if importlib.util.find_spec(package) is None or importlib.util.find_spec("gunicorn") is None:
        raise LocalStackError(f"the {package} is not installed; install it with: {PIP_LINE}")
    return package
