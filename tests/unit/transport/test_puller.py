"""Who pulls keys together: nobody is held up, or failed, by what is wrong with others' keys."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import redis

from cachemesh.core.errors import ShardTimeoutError, ShardUnavailableError
from cachemesh.core.migration.pull import IDLE_MS, LONGEST_IDLE_MS, Link
from cachemesh.core.names import Address
from cachemesh.transport.aio.puller import Puller
from tests.support.waiting import until_async

OK, GONE = b"OK", b"NOKEY"


class Source:
    """A shard that copies most keys, but neither bad nor large ones.

    Attributes:
        copied: the keys of each copy that was tried.
        idle: the milliseconds that the target could take each time.
        large_ms: those that it takes to build a large key.
        goes_on: copies are made.
        target: what they go to.
    """

    name = "a"
    target: Target

    def __init__(self) -> None:
        self.copied: list[list[bytes]] = []
        self.idle: list[int] = []
        self.large_ms: float = 500
        self.goes_on = asyncio.Event()
        self.kept = {b"first", b"good", b"bad", b"no room", b"large", b"last"}

    async def ask_apart(self, commands: Sequence[tuple[Any, ...]], *_: Any) -> list[Any]:
        await self.goes_on.wait()
        await asyncio.sleep(0)
        return [self._answer(*command) for command in commands]

    async def was_asked_six_times(self) -> bool:
        return len(self.idle) >= 6

    def _answer(self, name: str, *words: Any) -> Any:
        if name == "UNLINK":
            self.kept.difference_update(words)
            return len(words)
        if name != "MIGRATE":
            return 0
        keys, idle = list(words[words.index("KEYS") + 1 :]), words[4]
        self.copied.append(keys)
        self.idle.append(idle)
        if not self.kept.intersection(keys):
            return GONE
        if b"bad" in keys:
            return redis.ResponseError("Target instance replied with error: NOPERM no")
        if b"no room" in keys:
            return redis.ResponseError("Target instance replied with error: OOM no")
        if b"large" in keys and idle < self.large_ms:
            return redis.ResponseError("IOERR error or timeout reading to target instance")
        return OK


class Target:
    """A shard that has what was copied to it.

    Attributes:
        asked: it was, whether it answers.
        answers: it does.
    """

    name = "b"

    def __init__(self) -> None:
        self.asked, self.answers = asyncio.Event(), asyncio.Event()
        self.answers.set()

    async def ask_apart(self, commands: Sequence[tuple[Any, ...]], *_: Any) -> list[Any]:
        replies = {"EXISTS": len(commands[0]) - 1, "CLIENT": b""}
        return [replies.get(name, 0) for name, *_ in commands]

    async def ask_all(self, commands: Sequence[tuple[Any, ...]], _: float) -> list[Any]:
        assert commands == [("PING",)]
        self.asked.set()
        await self.answers.wait()
        return [b"PONG"]

    @property
    def latest(self) -> Target:
        return self

    def require_serving(self) -> None:
        """Return: it serves."""


def pulling(body: Callable[[Source, Callable[..., Any]], Awaitable[None]]) -> None:
    """Run a test with a source, and what begins to pull a key, of which the first one waits."""

    async def run() -> None:
        source = Source()
        link = Link(Address("b", 1), 0, 0, 100)
        shards: list[Any] = [source, Target()]
        source.target = shards[1]
        puller = Puller(shards[0], shards[1], lambda _: link)

        async def begun(*keys: bytes, seconds: float = 60.0) -> asyncio.Task[None]:
            task = asyncio.create_task(puller.pull(set(keys), time.monotonic() + seconds))
            await asyncio.sleep(0)  # it has its place in the queue
            return task

        await body(source, begun)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("key", "error"),
    [(b"bad", ShardUnavailableError), (b"no room", redis.exceptions.OutOfMemoryError)],
)
def test_a_key_that_cannot_be_pulled_fails_nobody_else(key: bytes, error: type[Exception]) -> None:
    async def body(source: Source, begun: Any) -> None:
        tasks = [await begun(each) for each in (b"first", b"good", key, b"last")]
        source.goes_on.set()
        first, good, bad, last = await asyncio.gather(*tasks, return_exceptions=True)
        assert first is good is last is None
        assert isinstance(bad, error)
        assert any(len(keys) > 1 for keys in source.copied), "they have shared a pull"
        assert source.kept.isdisjoint({b"first", b"good", b"last"})

    pulling(body)


def test_a_source_does_not_wait_for_a_target_that_does_not_answer() -> None:
    async def body(source: Source, begun: Any) -> None:
        source.goes_on.set()
        source.target.answers.clear()
        pulled = await begun(b"good")
        await source.target.asked.wait()
        for _ in range(10):  # turns of the event loop
            await asyncio.sleep(0)
        assert not source.copied
        source.target.answers.set()
        await pulled
        assert source.copied == [[b"good"]]

    pulling(body)


def test_a_large_key_holds_up_nobody_else() -> None:
    async def body(source: Source, begun: Any) -> None:
        large, good = await begun(b"large"), await begun(b"good")
        source.goes_on.set()
        done, _ = await asyncio.wait([large, good], return_when=asyncio.FIRST_COMPLETED)
        assert good in done
        assert large not in done, "it takes more time than the first attempt has"
        await asyncio.gather(large, await begun(b"last"))
        assert source.copied.count([b"large"]) > 1
        assert not any(b"large" in keys and b"last" in keys for keys in source.copied)

    pulling(body)


def test_a_large_key_holds_up_no_other_key_of_the_same_caller() -> None:
    async def body(source: Source, begun: Any) -> None:
        others = {b"other:%d" % number for number in range(100)}
        source.kept = {b"large", *others}
        source.goes_on.set()
        await (await begun(b"large", *others))
        assert not source.kept
        alone = [at for at, keys in enumerate(source.copied) if keys == [b"large"]]
        assert len(alone) > 1, "the first attempt is too short for it"
        assert all(keys == [b"large"] for keys in source.copied[alone[1] :])
        assert sum(b"large" in keys and len(keys) > 1 for keys in source.copied) == 1

    pulling(body)


def test_a_source_is_not_blocked_for_ever_longer_by_a_caller_without_a_time_limit() -> None:
    async def body(source: Source, begun: Any) -> None:
        source.large_ms = math.inf
        pulled = await begun(b"large", seconds=math.inf)
        source.goes_on.set()
        await until_async(source.was_asked_six_times)
        pulled.cancel()
        assert source.idle[:3] == [IDLE_MS, 400, 1600]
        assert set(source.idle[3:]) == {LONGEST_IDLE_MS}

    pulling(body)


def test_an_error_tells_what_was_wrong_with_ones_own_keys() -> None:
    async def body(source: Source, begun: Any) -> None:
        source.goes_on.set()
        with pytest.raises(ShardTimeoutError, match="target did not answer the source in time"):
            await (await begun(b"large", seconds=0.05))

    pulling(body)
