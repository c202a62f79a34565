"""Keys that cannot get to their new shard in time are misses; commands on others do not notice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError

from cachemesh.core.errors import ShardUnavailableError
from cachemesh.local import LocalStack
from tests.support.both_clients import CLIENTS
from tests.support.moved_keys import KEYS, VALUES, Moved, filled

TRANSACTIONS = [None, False]


@pytest.fixture(params=CLIENTS)
def moved(request: pytest.FixtureRequest, stack: LocalStack, tmp_path: Path) -> Iterator[Moved]:
    with filled(request.param, stack, tmp_path, socket_timeout=3.0) as moved:
        yield moved


def keys_of(moved: Moved) -> tuple[str, str, str]:
    """Return a key that moves from cache-0, one that moves from cache-1, and one that stays."""
    first = next(key for key in moved.keys if moved.before.shard_for(key) == "cache-0")
    second = next(key for key in moved.keys if moved.before.shard_for(key) == "cache-1")
    return first, second, next(key for key in KEYS if key not in moved.keys)


@contextmanager
def stuck(moved: Moved, stack: LocalStack) -> Iterator[None]:
    """Have keys move, but for those of cache-0, whose replica does not acknowledge anything."""
    moved.begin()
    (replica,) = stack.info["shards"][0]["replicas"]
    process = stack.process(replica)
    process.pause()
    try:
        yield
    finally:
        process.resume()


def test_of_many_keys_those_alone_are_misses_that_are_stuck(
    moved: Moved, stack: LocalStack
) -> None:
    first, second, third = keys_of(moved)
    view = moved.call.drive(moved.call.mesh.with_options(on_error="miss"))
    with stuck(moved, stack):
        assert view.mget(first, second, third) == [None, VALUES[second], VALUES[third]]
        assert not view.mset(dict.fromkeys((first, second, third), "new"))
        assert moved.at(moved.after, second) == moved.at(moved.before, third) == "new"
        assert view.exists(first, second, third) == 2
        assert view.delete(first, second, third) == 2
        health = moved.call.health()
        assert (health.misses, health.dropped) == (2, 2)
        assert moved.call.health("cache-1").dropped == 0
    assert moved.call.driven.get(first) == VALUES[first]


def test_a_miss_has_the_form_of_a_reply(moved: Moved, stack: LocalStack) -> None:
    first, _, _ = keys_of(moved)
    view = moved.call.drive(moved.call.mesh.with_options(on_error="miss"))
    with stuck(moved, stack):
        assert view.expire(first, 10) is False


@pytest.mark.parametrize("transaction", TRANSACTIONS)
def test_a_pipeline_misses_the_keys_that_are_stuck(
    transaction: bool | None, moved: Moved, stack: LocalStack
) -> None:
    first, second, third = keys_of(moved)

    def piped(mesh: Any) -> Any:
        pipe = mesh.with_options(on_error="miss").pipeline(transaction)
        pipe.get(first).append(second, "+").set(first, "new").get(third)
        return pipe.mget(first, second, third).execute()

    with stuck(moved, stack):
        got, length, was_set, stays, many = moved.call(piped)
    assert (got, stays) == (None, VALUES[third])
    assert not was_set
    assert length == len(VALUES[second]) + 1
    assert many == [None, VALUES[second] + b"+", VALUES[third]]


@pytest.mark.parametrize("transaction", TRANSACTIONS)
def test_a_pipeline_has_the_error_in_its_place(
    transaction: bool | None, moved: Moved, stack: LocalStack
) -> None:
    first, second, third = keys_of(moved)

    def piped(mesh: Any) -> Any:
        pipe = mesh.pipeline(transaction)
        return pipe.get(second).append(first, "+").get(third).execute(raise_on_error=False)

    with stuck(moved, stack):
        got, error, stays = moved.call(piped)
    assert (got, stays) == (VALUES[second], VALUES[third])
    assert isinstance(error, ShardUnavailableError)
    assert "moving from shard 'cache-0'" in str(error)


def test_a_pipeline_that_raises_sends_nothing_then(moved: Moved, stack: LocalStack) -> None:
    first, second, third = keys_of(moved)

    def piped(mesh: Any) -> Any:
        return mesh.pipeline().append(second, "+").append(first, "+").append(third, "+").execute()

    with stuck(moved, stack):
        with pytest.raises(ShardUnavailableError, match="was not sent"):
            moved.call(piped)
        assert moved.call.driven.mget(second, third) == [VALUES[second], VALUES[third]]


def test_in_a_preparation_that_does_not_end_the_keys_that_stay_are_served(moved: Moved) -> None:
    first, _, third = keys_of(moved)
    view = moved.call.mesh.with_options(on_error="miss")
    moved.prepare()
    assert moved.call.drive(view).mget(first, third) == [None, VALUES[third]]
    assert moved.call(lambda _: view.pipeline().get(first).get(third).execute()) == [
        None,
        VALUES[third],
    ]
    assert moved.call(lambda _: view.pipeline().get(first).mget(first, first).execute()) == [
        None,
        [None, None],
    ]


@contextmanager
def no_room(moved: Moved) -> Iterator[None]:
    """Have keys move, but for all of them, as their shard has no room."""
    moved.begin()
    with moved.server(moved.after, moved.keys[0]) as target:
        target.config_set("maxmemory", 1)
        try:
            yield
        finally:
            target.config_set("maxmemory", 0)


def test_without_room_many_keys_are_read_but_for_those_that_move(moved: Moved) -> None:
    first, _, third = keys_of(moved)
    view = moved.call.drive(moved.call.mesh.with_options(on_error="miss"))
    with no_room(moved):
        assert view.mget(third, first) == [VALUES[third], None]
        assert view.exists(first, third) == 1
        with pytest.raises(OutOfMemoryError):
            view.mset({first: "new", third: "new"})
        with pytest.raises(OutOfMemoryError):
            moved.call.driven.mget(third, first)


@pytest.mark.parametrize("transaction", TRANSACTIONS)
def test_without_room_a_pipeline_has_the_error_in_its_place(
    transaction: bool | None, moved: Moved
) -> None:
    first, _, third = keys_of(moved)

    def piped(mesh: Any, **options: Any) -> Any:
        pipe = mesh.pipeline(transaction).get(third).get(first).append(first, "+")
        return pipe.execute(**options)

    with no_room(moved):
        stays, got, error = moved.call(lambda mesh: piped(mesh, raise_on_error=False))
        assert stays == VALUES[third]
        assert isinstance(got, OutOfMemoryError)
        assert isinstance(error, OutOfMemoryError)
        view = moved.call.mesh.with_options(on_error="miss")
        stays, got, error = moved.call(lambda _: piped(view, raise_on_error=False))
        assert (stays, got) == (VALUES[third], None)
        assert isinstance(error, OutOfMemoryError), "a write is not dropped for want of room"
        with pytest.raises(OutOfMemoryError):
            moved.call(piped)
