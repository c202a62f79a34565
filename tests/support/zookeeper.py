"""Real ZooKeeper servers, one or an ensemble, that a test may kill, stop and start again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from cachemesh.core.names import Address
from cachemesh.local import probes
from cachemesh.local.binaries import zookeeper_command
from cachemesh.local.ports import HOST, Ports
from tests.support.needs import needs
from tests.support.waiting import AT_MOST, until

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


class ZookeeperServer:
    """One server of an ensemble."""

    def __init__(
        self,
        number: int,
        directory: Path,
        lines: Sequence[str],
        address: Address,
        java_options: Sequence[str] = (),
    ) -> None:
        self.address = address
        self._directory = directory / str(number)
        self._config = self._directory / "zoo.cfg"
        self._java_options = java_options
        data = self._directory / "data"
        data.mkdir(parents=True)
        (data / "myid").write_text(f"{number}\n")
        own = [f"dataDir={data}", f"clientPort={address.port}", f"clientPortAddress={address.host}"]
        self._config.write_text("\n".join([*lines, *own, ""]))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, without waiting for it."""
        java, *rest = zookeeper_command(self._config)
        command = [java, *self._java_options, *rest]
        with (self._directory / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._directory)

    def serves(self) -> bool:
        """Return whether the server takes part in a quorum, or stands alone."""
        return probes.answers_zookeeper(self.address) is None

    def leads(self) -> bool:
        """Return whether the server leads the ensemble."""
        return probes.zookeeper_mode(self.address) == "leader"

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send the server a signal; after SIGKILL or SIGSTOP, wait for what it does.

        A thread of Java may else answer after SIGSTOP was sent.
        """
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            if number == signal.SIGKILL:
                self.process.wait(AT_MOST)
            elif number == signal.SIGSTOP:
                os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


class Ensemble:
    """The servers of a ZooKeeper.

    Args:
        directory: of their data and logs.
        size: how many; one stands alone.
        host: where they listen.
        settings: further lines of each server's configuration.
        java_options: of each server's virtual machine.
    """

    def __init__(
        self,
        directory: Path,
        size: int,
        host: str = HOST,
        *,
        settings: Sequence[str] = (),
        java_options: Sequence[str] = (),
    ) -> None:
        needs("java")
        needs("/usr/share/java/zookeeper.jar")
        ports = Ports()
        lines = [
            *("tickTime=500", "initLimit=20", "syncLimit=6", "maxClientCnxns=0"),
            *("admin.enableServer=false", "4lw.commands.whitelist=*", "minSessionTimeout=1000"),
            *settings,
        ]
        if size > 1:
            lines += [
                f"server.{n}={host}:{ports.take()}:{ports.take()}" for n in range(1, size + 1)
            ]
        self.servers = [
            ZookeeperServer(n, directory, lines, Address(host, ports.take()), java_options)
            for n in range(1, size + 1)
        ]

    @property
    def hosts(self) -> str:
        """The addresses of the servers, as kazoo takes them."""
        return ",".join(str(server.address) for server in self.servers)

    @property
    def leader(self) -> ZookeeperServer:
        """The server that leads; waits for one."""
        found: ZookeeperServer = until(
            lambda: next((server for server in self.servers if server.leads()), None)
        )
        return found

    def start(self) -> None:
        """Start the servers that do not run, and wait until all serve."""
        for server in self.servers:
            if server.process is None or server.process.poll() is not None:
                server.start()
        until(lambda: all(server.serves() for server in self.servers))

    def __enter__(self) -> Self:
        with ExitStack() as unless_ready:
            unless_ready.callback(self.stop)
            self.start()
            unless_ready.pop_all()
        return self

    def stop(self) -> None:
        """Kill all servers."""
        for server in self.servers:
            server.kill()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
