"""One way to call the sync and the asyncio client, so that a test is written once for both."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.resilience.error_classification import BreakerOpenError
from tests.support.waiting import AT_MOST, until

CLIENTS = ("sync", "asyncio")


class Caller:
    """A client of either kind, called in the same way from any thread.

    Args:
        kind: "sync" or "asyncio"; the latter runs an event loop on a thread of its own.
        url: the pool's URL.
        options: passed to `from_url`.

    Attributes:
        mesh: the client itself.
    """

    def __init__(self, kind: str, url: str, **options: Any) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        if kind == "asyncio":
            self.loop = asyncio.new_event_loop()
            threading.Thread(target=self.loop.run_forever, daemon=True, name="app").start()
        make = CacheMesh if kind == "sync" else AsyncCacheMesh
        self.mesh: Any = make.from_url(url, **options)

    def __call__(self, use: Callable[[Any], Any], seconds: float = AT_MOST) -> Any:
        """Return what ``use`` returns for the client, awaited for asyncio.

        Args:
            use: called with the client.
            seconds: the longest wait for an awaitable.
        """
        return self.on(self.mesh, use, seconds)

    def on(self, mesh: Any, use: Callable[[Any], Any], seconds: float = AT_MOST) -> Any:
        """Call ``use`` as `__call__` does, with another client of the same kind."""
        if self.loop is None:
            return use(mesh)

        async def run() -> Any:
            result = use(mesh)
            return await result if inspect.isawaitable(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(seconds)

    def drive(self, it: Any) -> Driven:
        """Wrap an object of the client, such as a pipeline, so that its methods need no await."""
        return Driven(self, it)

    @property
    def driven(self) -> Driven:
        """The client wrapped by `drive`."""
        return self.drive(self.mesh)

    def timed(self, use: Callable[[Any], Any]) -> tuple[Any, float]:
        """Return the result of a call, or the exception it raised, and the seconds that it took."""
        began = time.monotonic()
        try:
            result = self(use)
        except (redis.RedisError, OSError) as error:
            result = error
        return result, time.monotonic() - began

    def warm(self, use: Callable[[Any], Any]) -> None:
        """Repeat a call until it succeeds: a short timeout may be too short to connect."""
        until(lambda: not isinstance(self.timed(use)[0], Exception))

    def fails_at_once(self, use: Callable[[Any], Any]) -> bool:
        """Return whether a call fails because the breaker is open, so that no server was asked."""
        came, _ = self.timed(use)
        assert isinstance(came, ShardUnavailableError), came
        return isinstance(came.__cause__, BreakerOpenError)

    def health(self, shard: str = "cache-0") -> Any:
        """Return the health of one shard."""
        return self.mesh.health()[shard]

    def drop(self) -> None:
        """Release the client without closing it, and wait until no task is left in the loop."""
        self.mesh = None
        gc.collect()
        loop = self.loop
        if loop is not None:
            until(lambda: not asyncio.all_tasks(loop))

    def close(self) -> None:
        """Close the client, and its event loop."""
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
    """A wrapper of an object of either client, whose methods return results, never awaitables."""

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
        """Call `close` of a sync object, or `aclose` of an asyncio one."""
        word = "close" if self._caller.loop is None else "aclose"
        self._caller.on(self.it, lambda it: getattr(it, word)())


@contextmanager
def calling(kind: str, url: str, **options: Any) -> Iterator[Caller]:
    """Make a `Caller` for the block and close it afterwards."""
    caller = Caller(kind, url, **options)
    try:
        yield caller
    finally:
        caller.close()
