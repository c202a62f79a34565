"""The servers, the event loop and the connected peers of one run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.cores import Cores
from benchmarks.peers import PEERS, PeerClient, PeerMissingError
from benchmarks.peers.base import package
from benchmarks.proxy import ProxyMissingError
from benchmarks.servers import Servers, running

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

T = TypeVar("T")
_AT_ONCE = 50  # commands in flight while data is loaded


class Arena:
    """A context manager that starts servers and connects peers, and ends both.

    Args:
        cores: the cores of the client and of the servers.
        uvloop: whether asyncio peers run on uvloop.
        traces: the directory with traces, or None.

    Attributes:
        skipped: why a peer cannot run on this machine, by the peer's name.

    Raises:
        PeerMissingError: uvloop is wanted and not installed.
    """

    def __init__(self, cores: Cores, uvloop: bool = False, traces: Path | None = None) -> None:
        self.traces = traces
        self.skipped: dict[str, str] = {}
        self._cores = cores
        self._new_loop = (
            package("uvloop", "uvloop").new_event_loop if uvloop else asyncio.new_event_loop
        )
        self._until = ExitStack()
        self._clients: dict[str, PeerClient] = {}
        self._loaded: set[tuple[str, int]] = set()

    def __enter__(self) -> Self:
        self.servers: Servers = self._until.enter_context(running(self._cores))
        self._loop: asyncio.AbstractEventLoop = self._new_loop()
        self._until.enter_context(closing(self._loop))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._until.close()

    def client(self, name: str) -> PeerClient | None:
        """Return a peer's connected client; None if it cannot run here (see `skipped`)."""
        if name not in self._clients and name not in self.skipped:
            try:
                self._connect(name)
            except (PeerMissingError, ProxyMissingError) as error:
                self.skipped[name] = str(error)
        return self._clients.get(name)

    def run(self, work: Awaitable[T]) -> T:
        """Run an awaitable in the event loop of the asyncio peers, and return its result."""
        task = asyncio.ensure_future(work, loop=self._loop)
        try:
            return self._loop.run_until_complete(task)
        except KeyboardInterrupt:
            task.cancel()
            self._loop.run_until_complete(asyncio.wait([task]))
            raise

    def _connect(self, name: str) -> None:
        made: Any = PEERS[name].connect(self.servers)
        client: PeerClient = self.run(made) if PEERS[name].asyncio else made
        self._clients[name] = client
        if PEERS[name].asyncio:
            self._until.callback(lambda: self.run(client.close()))
        else:
            self._until.callback(client.close)

    def load(self, name: str, data: Mapping[str, bytes]) -> None:
        """Have a peer store data, unless it has stored the same data before."""
        if (name, id(data)) in self._loaded:
            return
        client = self._clients[name]
        if PEERS[name].asyncio:
            self.run(_load(client, data))
        else:
            for key, value in data.items():
                client.set(key, value)
        self._loaded.add((name, id(data)))

    def clear(self) -> None:
        """Empty all servers."""
        self.servers.flush()
        self._loaded.clear()


async def _load(client: PeerClient, data: Mapping[str, bytes]) -> None:
    items = list(data.items())
    for start in range(0, len(items), _AT_ONCE):
        await asyncio.gather(
            *(client.set(key, value) for key, value in items[start : start + _AT_ONCE])
        )
