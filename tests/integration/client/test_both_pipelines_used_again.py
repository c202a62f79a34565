"""A pipeline that watches no more, and is used again: a resize in between does not notice it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh.local import LocalStack
from tests.support.moved_keys import KEYS, VALUES, Moved, filled
from tests.support.waiting import until


def on_cache_0(moved: Moved) -> tuple[str, str]:
    """Return a key that moves from cache-0, and one that stays there."""
    here = [key for key in KEYS if moved.before.shard_for(key) == "cache-0"]
    return next(k for k in here if k in moved.keys), next(k for k in here if k not in moved.keys)


def prepare(moved: Moved) -> None:
    """Have the client hold commands, whatever is under way yet."""
    moved._write(moved.migration)
    until(moved.keys_retired)


def drained(moved: Moved) -> bool:
    found: bool = moved.call.mesh._core.drained()
    return found


def test_what_watches_no_more_is_not_waited_for(moved: Moved) -> None:
    _, stays = on_cache_0(moved)
    pipe = moved.call.drive(moved.call.mesh.pipeline())
    pipe.watch(stays)
    pipe.unwatch()
    assert pipe.it.connection is None
    prepare(moved)
    until(lambda: drained(moved))


def test_what_watches_again_after_a_resize_was_stepped_back_can_be_reset(moved: Moved) -> None:
    _, stays = on_cache_0(moved)
    pipe = moved.call.drive(moved.call.mesh.pipeline())
    pipe.watch(stays)
    pipe.unwatch()
    prepare(moved)
    moved.finish(moved.before)
    pipe.watch(stays)
    prepare(moved)
    assert not drained(moved), "it watches"
    pipe.reset()
    until(lambda: drained(moved))


def test_a_watch_that_failed_is_not_waited_for(moved: Moved) -> None:
    pipe = moved.call.drive(moved.call.mesh.pipeline())
    with pytest.raises(redis.ResponseError, match="wrong number of arguments"):
        pipe.execute_command("WATCH")
    prepare(moved)
    until(lambda: drained(moved))


def test_a_key_that_has_moved_since_it_was_watched_can_be_watched_again(moved: Moved) -> None:
    key, _ = on_cache_0(moved)
    pipe = moved.call.drive(moved.call.mesh.pipeline())
    pipe.watch(key)
    pipe.unwatch()
    moved.begin()
    assert pipe.watch(key)
    pipe.it.multi()
    pipe.it.append(key, "+")
    assert pipe.execute() == [len(VALUES[key]) + 1]
    assert moved.at(moved.after, key) == VALUES[key].decode() + "+"


@pytest.fixture
def of_tasks(stack: LocalStack, tmp_path: Path) -> Iterator[Moved]:
    """As `moved`, for asyncio alone: nobody can cancel a thread."""
    with filled("asyncio", stack, tmp_path) as moved:
        yield moved


def test_a_reset_that_is_cancelled_is_not_waited_for(of_tasks: Moved) -> None:
    moved = of_tasks
    _, stays = on_cache_0(moved)
    pipeline: Any = moved.call.mesh.pipeline()
    pipe = moved.call.drive(pipeline)
    pipe.watch(stays)
    connection = pipeline.connection

    async def interrupted(*_: Any, **__: Any) -> Any:
        connection.read_response = type(connection).read_response.__get__(connection)
        await connection.disconnect()  # as redis-py does
        raise asyncio.CancelledError

    connection.read_response = interrupted

    async def reset(_: Any) -> bool:
        try:
            await pipeline.reset()
        except asyncio.CancelledError:
            return True
        return False

    assert moved.call(reset)
    prepare(moved)
    until(lambda: drained(moved))
