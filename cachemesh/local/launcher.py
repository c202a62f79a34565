"""Starting processes of a local stack on free ports, and finding them again by address."""

from __future__ import annotations

import importlib.util
import os
import site
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cachemesh.core.errors import LocalStackError
from cachemesh.core.names import Address

from . import configs, probes
from .binaries import PIP_LINE, RedisServer, zookeeper_command
from .ports import HOST, Ports
from .process import Keeper, Process, ProcessEndedError, await_ready
from .state import StateDirectory

_PORT_TRIES = 5


@dataclass(frozen=True)
class Recipe:
    """How to start one process: `command` writes its configuration for a port, gives its argv."""

    name: str
    kind: str
    probe: Callable[[Address], str | None]
    command: Callable[[int], list[str]]
    port: int | None = None  # None: any free one


class Launcher:
    """Starts processes below one keeper. Threads may share it."""

    def __init__(self, directory: StateDirectory, keeper: Keeper, ports: Ports) -> None:
        self._directory = directory
        self._keeper = keeper
        self._ports = ports
        self._recipes: dict[str, Recipe] = {}
        self._processes: dict[str, Process] = {}
        self._lock = threading.Lock()

    @property
    def processes(self) -> tuple[Process, ...]:
        return tuple(self._processes.values())

    def find(self, address: str) -> Process:
        """The process at "host:port", or of that name. Raises LocalStackError."""
        for process in self.processes:
            if address in (str(process.address), process.name):
                return process
        known = ", ".join(f"{process.name} {process.address}" for process in self.processes)
        raise LocalStackError(f"no process of this stack listens on {address}; it has: {known}")

    def start(self, recipe: Recipe) -> Process:
        """Start a process without waiting until it answers. Raises LocalStackError."""
        with self._lock:
            if recipe.name in self._processes:
                raise LocalStackError(f"this stack has a process named {recipe.name!r} already")
            process = self._spawn(recipe)
            self._recipes[recipe.name] = recipe
            self._processes[recipe.name] = process
            return process

    def _spawn(self, recipe: Recipe) -> Process:
        port = recipe.port if recipe.port is not None else self._ports.take()
        process = Process(
            name=recipe.name,
            kind=recipe.kind,
            address=Address(HOST, port),
            argv=recipe.command(port),
            log=self._directory / "logs" / f"{recipe.name}.log",
            cwd=self._directory.path,
            env=_environment(),
            probe=recipe.probe,
            keeper=self._keeper,
        )
        process.spawn()
        return process

    def settle(self, processes: Sequence[Process], timeout: float) -> list[Process]:
        """Wait until all answer; one that lost the race for its port is started on another.

        Returns them in order, as they are in the end. Raises LocalStackError.
        """
        settled = list(processes)
        for _ in range(_PORT_TRIES):
            try:
                await_ready(settled, timeout)
            except ProcessEndedError as ended:
                recipe = self._recipes[ended.process.name]
                if recipe.port is not None or not ended.lost_its_port():
                    raise
                with self._lock:
                    fresh = self._spawn(recipe)
                    self._processes[recipe.name] = fresh
                settled[settled.index(ended.process)] = fresh
            else:
                return settled
        raise LocalStackError(f"no free port stayed free in {_PORT_TRIES} tries; try again")

    def redis(
        self,
        server: RedisServer,
        name: str,
        replica_of: Address | None = None,
        port: int | None = None,
        extra: Sequence[str] = (),
    ) -> Recipe:
        """A redis-server, master or replica; `extra` are lines of its configuration."""

        def command(port: int) -> list[str]:
            data = self._data(name)
            conf = self._write_conf(name, configs.redis_conf(port, data, replica_of, extra))
            return [str(server.path), str(conf)]

        probe = probes.replica_attached if replica_of else probes.answers_ping
        return Recipe(name, "redis", probe, command, port)

    def sentinel(self, server: RedisServer, name: str) -> Recipe:
        """A Sentinel that monitors nothing yet."""

        def command(port: int) -> list[str]:
            conf = self._write_conf(name, configs.sentinel_conf(port, self._data(name)))
            return [str(server.path), str(conf), "--sentinel"]

        return Recipe(name, "sentinel", probes.answers_ping, command)

    def metaserver(self, name: str, port: int | None = None) -> Recipe:
        """A metaserver on the stack's SQLite file, allowed to use loopback addresses."""

        def command(port: int) -> list[str]:
            return [
                *(sys.executable, "-m", _installed("metaserver")),
                *("--listen", f"{HOST}:{port}"),
                *("--db", str(self._directory / "meta.db")),
                *("--token-file", str(self._directory.token_file)),
                *("--allow-network", "127.0.0.0/8", "--allow-network", "::1/128"),
            ]

        return Recipe(name, "metaserver", probes.answers_ready, command, port)

    def dashboard(self, metaservers: Sequence[Address], port: int | None = None) -> Recipe:
        """The dashboard, looking at all metaservers."""

        def command(port: int) -> list[str]:
            return [
                *(sys.executable, "-m", _installed("dashboard")),
                *("--listen", f"{HOST}:{port}"),
                *("--metaserver", ",".join(f"http://{address}" for address in metaservers)),
            ]

        return Recipe("dashboard", "dashboard", probes.answers_http, command, port)

    def zookeeper(self) -> Recipe:
        """A standalone ZooKeeper."""

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


def _environment() -> dict[str, str]:
    """Ours without CACHEMESH_ settings, and with a source checkout on the path."""
    return with_source_path(
        {key: value for key, value in os.environ.items() if not key.startswith("CACHEMESH_")}
    )


def with_source_path(environ: dict[str, str]) -> dict[str, str]:
    """An environment in which `python -m` finds our packages from whatever directory."""
    root = Path(__file__).resolve().parents[2]
    if str(root) not in site.getsitepackages():
        earlier = environ.get("PYTHONPATH")
        environ["PYTHONPATH"] = os.pathsep.join([str(root), *([earlier] if earlier else [])])
    return environ
