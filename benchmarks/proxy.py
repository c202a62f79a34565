"""Runs nutcracker (twemproxy) in front of some servers."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cachemesh.core.names import Address
from cachemesh.local.ports import HOST, Ports
from cachemesh.local.process import Process, await_ready
from cachemesh.local.reaper_client import ReaperClient

_READY_WITHIN = 10.0  # seconds until it must answer


class ProxyMissingError(Exception):
    """nutcracker is not installed."""


@contextmanager
def running(servers: Sequence[Address]) -> Iterator[Address]:
    """Run nutcracker during the block; yield its address.

    Raises:
        ProxyMissingError: nutcracker is not installed.
        LocalStackError: nutcracker does not start.
    """
    # Debian puts it where the PATH of ordinary users does not lead.
    program = shutil.which("nutcracker", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        raise ProxyMissingError(
            "nutcracker is not installed; on Debian: apt-get install nutcracker"
        )
    directory = Path(tempfile.mkdtemp(prefix="cachemesh-"))
    reaper = ReaperClient(remove=directory)
    try:
        process = _process(program, servers, directory, reaper)
        process.spawn()
        await_ready([process], _READY_WITHIN)
        yield process.address
    finally:
        reaper.close()


def _process(
    program: str, servers: Sequence[Address], directory: Path, reaper: ReaperClient
) -> Process:
    ports = Ports()
    address, statistics = Address(HOST, ports.take()), ports.take()
    file = directory / "nutcracker.yml"
    file.write_text(_configuration(address, servers))
    return Process(
        name="nutcracker",
        kind="nutcracker",
        address=address,
        argv=[
            program,
            "--conf-file",
            str(file),
            "--stats-addr",
            HOST,
            f"--stats-port={statistics}",
        ],
        log=directory / "nutcracker.log",
        cwd=directory,
        env=dict(os.environ),
        probe=_listens,
        reaper=reaper,
    )


def _listens(address: Address) -> str | None:
    try:
        socket.create_connection(address, timeout=1.0).close()
    except OSError as error:
        return f"connecting: {error}"
    return None


def _configuration(address: Address, servers: Sequence[Address]) -> str:
    lines = [
        "bench:",
        f"  listen: {address}",
        "  hash: fnv1a_64",
        "  distribution: ketama",
        "  redis: true",
        "  preconnect: true",
        "  servers:",
        *(f"  - {server}:1" for server in servers),
    ]
    return "\n".join([*lines, ""])
