"""A TCP forwarder before a Sentinel, which counts look-ups and can fall silent.

The Sentinel announces the forwarder's address as its own, so that clients that learn Sentinels
from one another use forwarders too.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType

import hiredis
import redis

from benchmarks.failover.site import Site, as_map, ask, wait_for
from cachemesh.core.names import parse_address

_READ = 65_536
_MESSAGE = b"message\r\n"
# What Sentinels ask one another; the rest comes from clients.
_LOOK_UPS = frozenset(
    f"SENTINEL {name}"
    for name in ("GET-MASTER-ADDR-BY-NAME", "MASTER", "MASTERS", "REPLICAS", "SLAVES")
)


class Forwarder:
    """Listens on a free port of the loopback and passes everything on to one server.

    Args:
        upstream: "host:port" of the server.
        at: host and port to listen on; port 0: a free one.

    Attributes:
        address: "host:port" where the forwarder listens.
        deaf: whether to drop the messages that the server publishes.
        asked: the look-ups: when each came (monotonic seconds), and its command; a pipeline of
            several counts as one.
        connected: when each connection came.
    """

    def __init__(self, upstream: str, at: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self._upstream = parse_address(upstream)
        self._listener = socket.create_server(at, backlog=4096)
        self._open: list[socket.socket] = []
        host, port = self._listener.getsockname()
        self.address = f"{host}:{port}"
        self.deaf = False
        self._stalled: set[socket.socket] = set()
        self.asked: list[tuple[float, str]] = []
        self.connected: list[float] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __str__(self) -> str:
        return self.address

    def stall(self) -> None:
        """Pass nothing on any more over the present connections; new ones work."""
        self._stalled.update(self._open)

    def __enter__(self) -> Forwarder:  # noqa: PYI034  # Self is in typing from Python 3.11 on
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connected.append(time.monotonic())
            try:
                server = socket.create_connection(self._upstream, timeout=5.0)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self._open += [client, server]
            for body in (self._requests, self._replies):
                threading.Thread(target=body, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        reader = hiredis.Reader()
        with suppress(OSError):
            while data := client.recv(_READ):
                reader.feed(data)
                words = []
                while command := reader.gets():
                    words.append(b" ".join(command[:2]).decode(errors="replace").upper())
                if any(word in _LOOK_UPS for word in words):
                    self.asked.append((time.monotonic(), ", ".join(words)))
                if client not in self._stalled:
                    server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError):
            while data := server.recv(_READ):
                if server not in self._stalled and not (self.deaf and _MESSAGE in data):
                    client.sendall(data)


@contextmanager
def forwarded(site: Site) -> Iterator[tuple[Site, Sequence[Forwarder]]]:
    """Put a forwarder before each Sentinel of a site, and have all use the forwarders' addresses.

    Yields:
        The site with the forwarders as its Sentinels, and the forwarders.
    """
    real = site.stack.info["sentinels"]
    with ExitStack() as stack:
        forwarders = [stack.enter_context(Forwarder(sentinel)) for sentinel in real]
        for sentinel, forwarder in zip(real, forwarders, strict=True):
            host, port = parse_address(forwarder.address)
            ask(sentinel, "SENTINEL", "CONFIG", "SET", "announce-ip", host)
            ask(sentinel, "SENTINEL", "CONFIG", "SET", "announce-port", port)
        wanted = {forwarder.address for forwarder in forwarders}
        for sentinel in real:
            for shard in site.shards:
                wait_for(
                    lambda at=sentinel, shard=shard: _peers(at, shard) < wanted,  # type: ignore[misc]
                    30.0,
                    f"Sentinel {sentinel} does not learn the forwarders' addresses",
                )
        yield Site.of(site.stack, [forwarder.address for forwarder in forwarders]), forwarders


def _peers(sentinel: str, shard: str) -> set[str]:
    try:
        found = ask(sentinel, "SENTINEL", "SENTINELS", shard)
    except redis.RedisError:
        return {"nobody"}
    peers = map(as_map, found)
    return {f"{peer['ip']}:{peer['port']}" for peer in peers}


def busiest_second(times: Sequence[float]) -> int:
    """Return how many of these times lie within one second, at most."""
    ordered = sorted(times)
    most, first = 0, 0
    for index, at in enumerate(ordered):
        while at - ordered[first] >= 1.0:
            first += 1
        most = max(most, index - first + 1)
    return most
