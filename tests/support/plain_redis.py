"""Plain redis-py on one server, for looking at an instance or Sentinel directly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from cachemesh.core.names import parse_address
from cachemesh.local import Process
from tests.support.waiting import AT_MOST

Target = tuple[str, int]
"""Host and port."""


def target(process: Process) -> Target:
    """Return the host and port where a process listens."""
    return process.address.host, process.address.port


def connect(address: str) -> redis.Redis:
    """Return a redis-py client of the server at "host:port"; its replies are bytes."""
    host, port = parse_address(address)
    return redis.Redis(host, port, socket_timeout=AT_MOST)


@contextmanager
def direct(server: Process | str) -> Iterator[Any]:
    """Connect redis-py to a process or to "host:port" for the block; its replies are text."""
    host, port = target(server) if isinstance(server, Process) else parse_address(server)
    with redis.Redis(host, port, socket_timeout=AT_MOST, decode_responses=True) as client:
        yield client


def calls_of(process: Process, command: str) -> int:
    """Return how often a server has run a command since `reset_counts_of`."""
    with direct(process) as client:
        stats = client.info("commandstats")
        return int(stats.get(f"cmdstat_{command.lower()}", {}).get("calls", 0))


def reset_counts_of(process: Process) -> None:
    """Set the server's statistics, and so `calls_of`, to zero."""
    with direct(process) as client:
        client.config_resetstat()
