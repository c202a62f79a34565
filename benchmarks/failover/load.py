"""Runs writers on one client, in threads or tasks, until they are stopped."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis

from benchmarks.failover.contenders.base import (
    AsyncContender,
    AsyncContenderClient,
    Contender,
    ContenderClient,
)
from benchmarks.failover.site import Site
from benchmarks.failover.writer import Writer
from cachemesh.core.errors import CacheMeshError

APP_ERRORS = (redis.RedisError, CacheMeshError, OSError, asyncio.TimeoutError)
"""The exceptions that an app has to expect of a client; any other ends the trial."""
_JOIN = 60.0
_TICK = 0.005


class Load:
    """Running writers, which start at once.

    Args:
        contender: makes the client.
        site: the servers.
        writers: share one client.
        pause: seconds between two turns of a writer.
        options: of the client.
    """

    def __init__(
        self,
        contender: Contender | AsyncContender,
        site: Site,
        writers: Sequence[Writer],
        pause: float,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.writers = writers
        self.stall = 0.0  # seconds that a thread of the harness itself was late, at worst
        self._pause = pause
        self._stop = threading.Event()
        if isinstance(contender, Contender):
            client = contender.connect(site, **(options or {}))
            bodies: list[Callable[[], None]] = [
                lambda writer=writer, seed=seed: self._drive(client, writer, seed)  # type: ignore[misc]
                for seed, writer in enumerate(writers)
            ]
            self._close: Callable[[], None] = client.close
        else:
            bodies = [lambda: asyncio.run(self._drive_tasks(contender, site, options or {}))]
            self._close = _nothing
        self._threads = [threading.Thread(target=body, daemon=True) for body in bodies]
        self._threads += [
            threading.Thread(target=self._beat, args=(cpu,), daemon=True)
            for cpu in os.sched_getaffinity(0)
        ]
        self.started = time.monotonic()
        for thread in self._threads:
            thread.start()

    def warm(self, seconds: float = 10.0) -> None:
        """Wait until every writer has had a write acknowledged. Raises AssertionError."""
        deadline = time.monotonic() + seconds
        while not all(writer.acknowledged for writer in self.writers):
            self._raise_crash()
            if time.monotonic() > deadline:
                raise AssertionError(f"not every writer got a write through in {seconds:g} s")
            time.sleep(_TICK)

    def stop(self) -> float:
        """Stop the writers; return when they were told to stop, in monotonic seconds.

        Raises:
            AssertionError: a writer hangs.
            BaseException: a writer got an exception that is not among `APP_ERRORS`.
        """
        stopped = time.monotonic()
        self._stop.set()
        for thread in self._threads:
            thread.join(max(0.0, stopped + _JOIN - time.monotonic()))
        hanging = [thread.name for thread in self._threads if thread.is_alive()]
        self._close()
        if hanging:
            raise AssertionError(f"{len(hanging)} writers hang {_JOIN:g} s after the end")
        self._raise_crash()
        return stopped

    def _raise_crash(self) -> None:
        for writer in self.writers:
            if writer.crash is not None:
                raise writer.crash

    def _drive(self, client: ContenderClient, writer: Writer, seed: int) -> None:
        steps = writer.steps(self._stop.is_set, seed)
        reply: Any = None
        try:
            while True:
                call = steps.send(reply)
                reply = None
                if call is None:
                    time.sleep(self._pause)
                    continue
                try:
                    reply = client.call(writer.shard, *call.words)
                except APP_ERRORS as error:
                    reply = error
        except StopIteration:
            pass
        except BaseException as error:  # noqa: BLE001  # raised again by `stop`
            writer.crash = error

    async def _drive_tasks(
        self, contender: AsyncContender, site: Site, options: Mapping[str, Any]
    ) -> None:
        client = await contender.connect(site, **options)
        try:
            await asyncio.gather(
                *(self._drive_task(client, w, seed) for seed, w in enumerate(self.writers))
            )
        finally:
            await client.close()

    async def _drive_task(self, client: AsyncContenderClient, writer: Writer, seed: int) -> None:
        steps = writer.steps(self._stop.is_set, seed)
        reply: Any = None
        try:
            while True:
                call = steps.send(reply)
                reply = None
                if call is None:
                    await asyncio.sleep(self._pause)
                    continue
                try:
                    reply = await client.call(writer.shard, *call.words)
                except APP_ERRORS as error:
                    reply = error
        except StopIteration:
            pass
        except BaseException as error:  # noqa: BLE001  # raised again by `stop`
            writer.crash = error

    def _beat(self, cpu: int) -> None:
        """Measure how late a thread is that may run on one CPU only.

        Shorter gaps say nothing about a client. A virtual CPU that its host does not run for
        seconds holds up the servers on it, while others go on.
        """
        os.sched_setaffinity(threading.get_native_id(), {cpu})
        while not self._stop.is_set():
            began = time.monotonic()
            time.sleep(_TICK)
            self.stall = max(self.stall, time.monotonic() - began - _TICK)


def _nothing() -> None:
    """Do nothing: an asyncio client is closed on its own loop."""
