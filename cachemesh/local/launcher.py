"""Starts processes by their recipes on free ports, and finds them again by address or name."""

from __future__ import annotations

import os
import site
import threading
from collections.abc import Sequence
from pathlib import Path

from cachemesh.core.errors import LocalStackError
from cachemesh.core.names import Address
from cachemesh.local.ports import HOST, Ports
from cachemesh.local.process import Process, ProcessEndedError, await_ready
from cachemesh.local.reaper_client import ReaperClient
from cachemesh.local.recipes import Recipe
from cachemesh.local.state import StateDirectory

_PORT_TRIES = 5


class Launcher:
    """Starts the processes of one stack as children of one reaper. Threads may share it."""

    def __init__(self, directory: StateDirectory, reaper: ReaperClient, ports: Ports) -> None:
        self._directory = directory
        self._reaper = reaper
        self._ports = ports
        self._recipes: dict[str, Recipe] = {}
        self._processes: dict[str, Process] = {}
        self._lock = threading.Lock()

    @property
    def processes(self) -> tuple[Process, ...]:
        """Every process started so far, in the order of the starts."""
        return tuple(self._processes.values())

    def find(self, address: str) -> Process:
        """Return the process at "host:port", or the process of that name.

        Raises:
            LocalStackError: the stack has no such process; the message lists those it has.
        """
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

    def await_ready(self, processes: Sequence[Process], timeout: float) -> list[Process]:
        """Wait until all processes answer; restart on another port one that lost its port.

        Args:
            processes: processes that `start` returned.
            timeout: seconds.

        Returns:
            The processes in the given order, a restarted one in place of the first.

        Raises:
            LocalStackError: a process has ended or does not answer.
        """
        ready = list(processes)
        for _ in range(_PORT_TRIES):
            try:
                await_ready(ready, timeout)
            except ProcessEndedError as ended:
                recipe = self._recipes[ended.process.name]
                if recipe.port is not None or not ended.lost_its_port():
                    raise
                with self._lock:
                    fresh = self._spawn(recipe)
                    self._processes[recipe.name] = fresh
                ready[ready.index(ended.process)] = fresh
            else:
                return ready
        raise LocalStackError(
            f"every free port was taken before use, {_PORT_TRIES} times; try again"
        )

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
            reaper=self._reaper,
        )
        process.spawn()
        return process


def _environment() -> dict[str, str]:
    """Return this process's environment without its CACHEMESH_ variables."""
    return with_source_path(
        {key: value for key, value in os.environ.items() if not key.startswith("CACHEMESH_")}
    )


def with_source_path(environ: dict[str, str]) -> dict[str, str]:
    """Put a source checkout on PYTHONPATH, so that `python -m` finds it from any directory."""
    root = Path(__file__).resolve().parents[2]
    if str(root) not in site.getsitepackages():
        earlier = environ.get("PYTHONPATH")
        environ["PYTHONPATH"] = os.pathsep.join([str(root), *([earlier] if earlier else [])])
    return environ
