"""Only `AllowedNetworks` opens connections of the metaserver, and only to checked addresses."""

from __future__ import annotations

import ast
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metaserver.redis_io.allowed_networks import AllowedNetworks, InstanceRejected

METASERVER = Path(__file__).resolve().parents[4] / "metaserver"
GUARD = METASERVER / "redis_io" / "allowed_networks.py"

CLIENTS = {
    *("redis.asyncio", "redis.client", "redis.cluster", "redis.connection", "redis.sentinel"),
    *("http.client", "urllib.request", "ftplib", "smtplib", "telnetlib", "xmlrpc.client"),
}
OPENERS = {
    *("socket.socket", "socket.create_connection", "gevent.socket.socket"),
    *("redis.Redis", "redis.StrictRedis", "redis.Connection", "redis.ConnectionPool"),
    *("redis.from_url", "redis.Sentinel", "redis.RedisCluster"),
}
METHODS = {"connect", "connect_ex", "open_connection", "create_connection"}
CONNECTS = {"sqlite3.connect", "self._networks.connect", "allowed.connect"}
"""Calls of a method `connect` that connect to checked addresses only."""


def _opens(tree: ast.AST) -> Iterator[str]:
    """Yield what in a module could open a connection."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in CLIENTS)
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{each.name}" for each in node.names}
            yield from names & (OPENERS | CLIENTS)
            yield from {node.module or ""} & CLIENTS
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            method = name.rpartition(".")[2]
            if name in OPENERS or (method in METHODS and name not in CONNECTS):
                yield name


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(METASERVER.rglob("*.py")) if path != GUARD],
    ids=lambda path: str(path.relative_to(METASERVER)),
)
def test_nothing_else_opens_a_connection(path: Path) -> None:
    assert list(_opens(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import socket\nsocket.create_connection(('a', 1))",
        "from socket import create_connection",
        "import redis\nredis.Redis('a')",
        "from redis.connection import Connection",
        "import http.client",
        "sock.connect(('a', 1))",
    ],
)
def test_a_connection_is_noticed(source: str) -> None:
    assert list(_opens(ast.parse(source)))


@pytest.fixture
def listeners() -> Iterator[dict[str, socket.socket]]:
    """Listen at one port of two addresses of this machine."""
    inside = socket.create_server(("127.0.0.1", 0))
    outside = socket.create_server(("127.9.9.9", inside.getsockname()[1]))
    for sock in (inside, outside):
        sock.settimeout(0.2)
    with inside, outside:
        yield {"127.0.0.1": inside, "127.9.9.9": outside}


def was_called(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except TimeoutError:
        return False
    return True


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Have host names resolve to other addresses at each look-up; return the names looked up."""
    left, asked = list(answers), []

    def getaddrinfo(host: str, port: Any, *_args: Any, **_options: Any) -> list[Any]:
        asked.append(host)
        ips = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port or 0)) for ip in ips]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


NETWORKS = ["127.0.0.1/32"]


def test_a_name_leads_to_the_address_that_was_checked(
    listeners: dict[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolving(monkeypatch, ["127.0.0.1"], ["127.9.9.9"])
    port = listeners["127.0.0.1"].getsockname()[1]
    networks = AllowedNetworks(NETWORKS)
    networks.connect(f"rebound.test:{port}", timeout=5).close()
    assert asked == ["rebound.test"]
    assert was_called(listeners["127.0.0.1"])
    with pytest.raises(InstanceRejected, match="outside the allowed networks"):
        networks.connect(f"rebound.test:{port}", timeout=5)
    assert not was_called(listeners["127.9.9.9"])


def test_a_name_for_any_address_outside_is_not_connected_to(
    listeners: dict[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, ["127.0.0.1", "127.9.9.9"])
    port = listeners["127.0.0.1"].getsockname()[1]
    with pytest.raises(InstanceRejected, match="outside the allowed networks"):
        AllowedNetworks(NETWORKS).connect(f"both.test:{port}", timeout=5)
    assert not any(map(was_called, listeners.values()))


def test_the_next_address_of_a_name_is_tried(
    listeners: dict[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, ["127.0.0.2", "127.9.9.9"])
    port = listeners["127.9.9.9"].getsockname()[1]
    AllowedNetworks(["127.0.0.0/8"]).connect(f"two.test:{port}", timeout=5).close()
    assert was_called(listeners["127.9.9.9"])
