"""Pools whose masters are moved by hand, servers that answer nothing, and both clients alike."""

from __future__ import annotations

import asyncio
import gc
import inspect
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.local import LocalStack, Process
from cachemesh.transport.failures import BreakerOpenError
from tests.support.rogue_server import Server, greeting, sentinel
from tests.support.waiting import AT_MOST, until

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

Target = tuple[str, int]
CLIENTS = ("sync", "asyncio")


class Caller:
    """A client of either kind, called in the same way from any thread."""

    def __init__(self, kind: str, url: str, **options: Any) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        if kind == "asyncio":
            self.loop = asyncio.new_event_loop()
            threading.Thread(target=self.loop.run_forever, daemon=True, name="app").start()
        make = CacheMesh if kind == "sync" else AsyncCacheMesh
        self.mesh: Any = make.from_url(url, **options)

    def __call__(self, use: Callable[[Any], Any], seconds: float = AT_MOST) -> Any:
        """What ``use`` returns for the client, awaited if need be."""
        return self.on(self.mesh, use, seconds)

    def on(self, mesh: Any, use: Callable[[Any], Any], seconds: float = AT_MOST) -> Any:
        """As a call, for another client of the same kind, such as a view."""
        if self.loop is None:
            return use(mesh)

        async def run() -> Any:
            result = use(mesh)
            return await result if inspect.isawaitable(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(seconds)

    def drive(self, it: Any) -> Driven:
        """Something of the client, such as a pipeline, with methods to call as on the sync one."""
        return Driven(self, it)

    @property
    def driven(self) -> Driven:
        """The client itself, as of `drive`."""
        return self.drive(self.mesh)

    def timed(self, use: Callable[[Any], Any]) -> tuple[Any, float]:
        """What came of it, an exception or not, and the seconds it took."""
        began = time.monotonic()
        try:
            result = self(use)
        except (redis.RedisError, OSError) as error:
            result = error
        return result, time.monotonic() - began

    def warm(self, use: Callable[[Any], Any]) -> None:
        """Do it until it is done: a time limit that is short may be too short for the first."""
        until(lambda: not isinstance(self.timed(use)[0], Exception))

    def fails_at_once(self, use: Callable[[Any], Any]) -> bool:
        """Whether it fails because the breaker is open: nobody was asked, and nobody waited for."""
        came, _ = self.timed(use)
        assert isinstance(came, ShardUnavailableError), came
        return isinstance(came.__cause__, BreakerOpenError)

    def health(self, shard: str = "cache-0") -> Any:
        return self.mesh.health()[shard]

    def drop(self) -> None:
        """Let go of the client without closing it; nothing of it may be left in the loop."""
        self.mesh = None
        gc.collect()
        loop = self.loop
        if loop is not None:
            until(lambda: not asyncio.all_tasks(loop))

    def close(self) -> None:
        if self.loop is None:
            if self.mesh is not None:
                self.mesh.close()
            return
        if self.mesh is not None:
            self(lambda mesh: mesh.aclose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        until(lambda: self.loop is not None and not self.loop.is_running())
        self.loop.close()


class Driven:
    """Something of either kind of client: what its methods return is awaited where need be."""

    def __init__(self, caller: Caller, it: Any) -> None:
        self.it = it
        self._caller = caller

    def __getattr__(self, name: str) -> Any:
        if not callable(getattr(self.it, name)):
            return getattr(self.it, name)

        def call(*args: Any, **options: Any) -> Any:
            return self._caller.on(self.it, lambda it: getattr(it, name)(*args, **options), 90.0)

        return call

    def close(self) -> None:
        """Close it, in the words of its kind."""
        word = "close" if self._caller.loop is None else "aclose"
        self._caller.on(self.it, lambda it: getattr(it, word)())


@contextmanager
def calling(kind: str, url: str, **options: Any) -> Iterator[Caller]:
    """A `Caller`, closed in the end."""
    caller = Caller(kind, url, **options)
    try:
        yield caller
    finally:
        caller.close()


class Site:
    """A pool of the given masters, known to a Sentinel that says what the test wants.

    Attributes:
        masters: shard -> address, to be changed at will.
        url: of the pool.
    """

    def __init__(self, masters: Mapping[str, Target], directory: Path) -> None:
        self.masters = dict(masters)
        self.sentinel = Server(sentinel(self.masters))
        self.placement = SlotsPlacement.even([Shard(name) for name in self.masters])
        document = PoolDocument("cache", 1, self.placement, sentinels=(str(self.sentinel),))
        path = directory / f"cache-{self.sentinel.address[1]}.json"
        path.write_text(document.to_json())
        # The Sentinel is threads of this process, which may be busy.
        self.url = f"cachemesh+file://{path}?sentinel_timeout={AT_MOST}"

    def keys(self, shard: str = "cache-0", count: int = 1, prefix: str = "k") -> list[str]:
        """Keys of a shard."""
        found = (f"{prefix}{i}" for i in range(10_000))
        mine = (key for key in found if self.placement.shard_for(key) == shard)
        return [next(mine) for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sentinel.close()


def target(process: Process) -> Target:
    """Where a process listens."""
    return process.address.host, process.address.port


@contextmanager
def direct(process: Process) -> Iterator[redis.Redis]:
    """redis-py, connected to one server."""
    with redis.Redis(*target(process), socket_timeout=AT_MOST, decode_responses=True) as client:
        yield client


def site_of(masters: Sequence[Process], directory: Path) -> Site:
    """A pool of shards cache-0, cache-1 and so on, each of one of these masters."""
    return Site({f"cache-{n}": target(master) for n, master in enumerate(masters)}, directory)


def reset(process: Process) -> None:
    """A master with nothing in it, and no pause, limit or client left."""
    process.resume()
    with direct(process) as client:
        client.client_unpause()
        client.replicaof("NO", "ONE")
        client.config_set("maxclients", 10_000)
        client.config_resetstat()
        client.flushall()


def calls_of(process: Process, command: str) -> int:
    """How often a server has run a command since `reset`."""
    with direct(process) as client:
        stats: Any = client.info("commandstats")
        return int(stats.get(f"cmdstat_{command.lower()}", {}).get("calls", 0))


def swap(old: Process, new: Process) -> None:
    """``old`` becomes a replica of ``new``, by hand; no Sentinel is told."""
    with direct(new) as client:
        client.replicaof("NO", "ONE")
    with direct(old) as client:
        client.replicaof(*target(new))


@contextmanager
def full_backlog() -> Iterator[Target]:
    """An address that answers no SYN: nobody accepts, and its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            with suppress(BlockingIOError):
                sock.connect(listener.getsockname())
            waiting.append(sock)
        try:
            yield listener.getsockname()
        finally:
            for sock in waiting:
                sock.close()


def silent() -> Server:
    """Accepts, and never says a word."""
    return Server(lambda words: None)


class Trickler(Server):
    """A master whose replies come byte by byte, without an end.

    Args:
        pause: seconds between two bytes.
        greets: the handshake is answered at once.
    """

    def __init__(self, pause: float, greets: bool = True) -> None:
        super().__init__(lambda words: (greeting(words) if greets else None) or b"$99999\r\n")
        self._pause = pause
        self._ended = threading.Event()
        threading.Thread(target=self._trickle, daemon=True).start()

    def _trickle(self) -> None:
        while not self._ended.wait(self._pause):
            for sock in list(self._open):
                with suppress(OSError):
                    sock.sendall(b"x")

    def close(self) -> None:
        self._ended.set()
        super().close()


@contextmanager
def servers(count: int) -> Iterator[list[Process]]:
    """Masters that no Sentinel watches."""
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0) as stack:
        yield [stack.start_redis() for _ in range(count)]
