"""Finds free TCP ports on this machine, and the process that listens on a taken one."""

from __future__ import annotations

import errno
import os
import random
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cachemesh.core.errors import LocalStackError

HOST = "127.0.0.1"
VARIABLE = "CACHEMESH_PORTS"
"""Names the ports that local stacks may use."""

_LOWEST = 10240
_TRIES = 200


def _first_ephemeral() -> int:
    """Return the first port that the kernel gives to outgoing connections.

    Source: Linux, ip(7), ip_local_port_range; elsewhere RFC 6335, section 6.
    """
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 49152


def is_free(port: int) -> bool:
    """Return whether a server could listen on `port` of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def usual_ports() -> range:
    """Return the ports that are given out where the user has not chosen others.

    Where possible they lie below those of outgoing connections: while a server restarts, any client
    on the machine could get one of these.
    """
    found = range(_LOWEST, _first_ephemeral())
    return found if len(found) > 1000 else range(0)


def chosen_ports(environ: Mapping[str, str]) -> range | None:
    """Return the ports that CACHEMESH_PORTS names, as in ``20000-20999``; None without it.

    Raises:
        LocalStackError: it names none.
    """
    text = environ.get(VARIABLE, "")
    if not text:
        return None
    low, _, high = text.partition("-")
    if re.fullmatch("[0-9]{1,5}-[0-9]{1,5}", text) and 0 < int(low) <= int(high) < 65536:
        return range(int(low), int(high) + 1)
    raise LocalStackError(f"{VARIABLE} is {text!r}; give the first and the last port: 20000-20999")


class Ports:
    """Gives out free ports, each one once: of CACHEMESH_PORTS, or of the usual ones.

    Between the moment when a port is given out and the one when a server listens on it, another
    program may take it. Programs that start many servers at once are given ports of their own.
    """

    def __init__(self) -> None:
        self._given: set[int] = set()
        self._random = random.Random(os.urandom(8))

    def take(self) -> int:
        """Return a free port. Raises LocalStackError when none is found."""
        chosen = chosen_ports(os.environ)
        ports = usual_ports() if chosen is None else chosen
        for port in self._random.sample(ports, min(_TRIES, len(ports))):
            if port not in self._given and is_free(port):
                self._given.add(port)
                return port
        if chosen is not None:
            raise LocalStackError(
                f"no free TCP port of {VARIABLE} on 127.0.0.1; name more, or stop some servers"
            )
        for _ in range(_TRIES):
            with socket.socket() as probe:
                probe.bind((HOST, 0))
                port = int(probe.getsockname()[1])
            if port not in self._given:
                self._given.add(port)
                return port
        raise LocalStackError(
            "no free TCP port found on 127.0.0.1; stop some servers and try again"
        )

    def claim(self, port: int | None, purpose: str, option: str) -> None:
        """Reserve a port that the user has chosen.

        Args:
            port: the port; None: do nothing.
            purpose: what the port is for, for the message.
            option: the command-line option that chooses it, for the message.

        Raises:
            LocalStackError: the port is taken; the message names its holder.
        """
        if port is None:
            return
        if port in self._given or not is_free(port):
            holder = holder_of(port)
            by = f" by {holder}" if holder else ""
            raise LocalStackError(
                f"port {port} for the {purpose} is already taken{by}; "
                f"stop that process or choose another port with {option}"
            )
        self._given.add(port)


@dataclass(frozen=True)
class PortHolder:
    """The name and pid of the process that listens on a port."""

    name: str
    pid: int

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


def holder_of(port: int) -> PortHolder | None:
    """Return the process that listens on `port`; None if there is none or /proc does not tell.

    Source: proc(5), /proc/net/tcp (state 0A is LISTEN) and /proc/PID/fd.
    """
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in inodes for link in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return PortHolder(name, int(process.name))
        except OSError:  # the process belongs to another user, or has just ended
            continue
    return None
