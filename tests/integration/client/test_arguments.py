"""Whatever an argument's type, a pool stores what one server gets from `redis.Redis`.

Real servers on both sides. Each call goes by every way there is to send it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.local import LocalStack
from tests.support.argument_strategies import ARGUMENTS, RAISED

pytestmark = pytest.mark.filterwarnings(
    # Not a strategy: threads of the clients use it while hypothesis draws.
    "ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning"
)
real = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Calls = Sequence[tuple[Any, ...]]

SCRIPT = "return redis.call('SET', KEYS[1], ARGV[1])"
SHAPES: dict[str, Callable[[Any, Any], Calls]] = {
    "one key": lambda k, v: [("SET", k, v), ("APPEND", k, v), ("GET", k)],
    "counted": lambda k, v: [("EVAL", SCRIPT, 1, k, v), ("GET", k)],
    "blocking": lambda k, v: [("RPUSH", k, v), ("BLPOP", k, 1), ("RPUSH", k, v, v)],
    "sorted": lambda k, v: [("RPUSH", k, 2, 1), ("SORT", k, "BY", "none", "GET", "#", "STORE", k)],
    "several": lambda k, v: [
        ("MSET", "a", v, k, v, "b", v),
        ("MGET", "a", k, "b"),
        ("EXISTS", k, "a"),
        ("DEL", "a", k),
    ],
}
VIEWS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "missing": {"on_error": "miss"},
    "from replicas": {"read_from": "prefer_replica"},
    "from replicas, bound": {"read_from": "weighted", "max_lag": 5, "retry_writes": True},
}
WAYS = (*VIEWS, "own connection", "pipeline", "no MULTI", "transaction", "watched")
ON_ONE_SHARD = ("transaction", "watched")


@pytest.fixture(scope="module")
def shard() -> Iterator[LocalStack]:
    with LocalStack(shards=1, replicas=1, sentinels=1, metaservers=0) as running:
        yield running


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def pools(
    shards: LocalStack, shard: LocalStack, loop: asyncio.AbstractEventLoop
) -> Iterator[dict[int, tuple[Any, Any]]]:
    """Clients of pools by their number of shards: one for threads, one for asyncio."""
    urls = {3: shards.info["url"], 1: shard.info["url"]}
    patient: dict[str, Any] = {"socket_timeout": 60, "socket_connect_timeout": 60}
    made = {
        n: (CacheMesh.from_url(u, **patient), AsyncCacheMesh.from_url(u, **patient))
        for n, u in urls.items()
    }
    yield made
    for mesh, amesh in made.values():
        mesh.close()
        loop.run_until_complete(amesh.aclose())


def run(mesh: Any, way: str, key: Any, calls: Calls) -> Any:
    """Return the replies to calls made in one way: by another client, or in a pipeline."""
    if way in VIEWS or way == "own connection":
        view = mesh.with_options(**VIEWS[way]) if way in VIEWS else mesh.client()
        try:
            return [view.execute_command(*call) for call in calls]
        finally:
            view.close()  # which closes the connection of its own, if it has one
    transaction = {"no MULTI": False, "transaction": True}.get(way)
    with mesh.pipeline(transaction=transaction) as pipe:
        if way == "watched":
            pipe.watch(key)
            assert pipe.execute_command("EXISTS", key) == 0
            pipe.multi()
        for call in calls:
            pipe.execute_command(*call)
        return pipe.execute()


async def run_async(mesh: Any, way: str, key: Any, calls: Calls) -> Any:
    """As `run`, with the asyncio client."""
    if way in VIEWS or way == "own connection":
        view = mesh.with_options(**VIEWS[way]) if way in VIEWS else mesh.client()
        try:
            return [await view.execute_command(*call) for call in calls]
        finally:
            await view.aclose()
    transaction = {"no MULTI": False, "transaction": True}.get(way)
    async with mesh.pipeline(transaction=transaction) as pipe:
        if way == "watched":
            await pipe.watch(key)
            assert await pipe.execute_command("EXISTS", key) == 0
            pipe.multi()
        for call in calls:
            pipe.execute_command(*call)
        return await pipe.execute()


def outcome(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or the error that it raises."""
    try:
        return call()
    except RAISED as error:
        return error


def content(client: Any) -> dict[bytes, bytes]:
    """Return all that is stored, by the bytes of each key."""
    return {key: client.dump(key) for key in client.scan_iter(count=1000)}


def same(ours: Any, theirs: Any) -> bool:
    """Return whether two replies are equal, or errors of one class."""
    if isinstance(theirs, Exception):
        return isinstance(ours, type(theirs))
    return bool(ours == theirs)


def refusals(client: Any, *arguments: Any) -> set[type[Exception]]:
    """Return the class of the error that each argument gives by itself."""
    given = [outcome(functools.partial(client.echo, argument)) for argument in arguments]
    return {type(error) for error in given if isinstance(error, Exception)}


@real
@given(
    st.sampled_from([1, 3]),
    st.booleans(),
    st.sampled_from(WAYS),
    st.sampled_from(sorted(SHAPES)),
    ARGUMENTS,
    ARGUMENTS,
)
def test_what_is_stored_and_where_is_what_redis_py_stores(
    pools: dict[int, tuple[Any, Any]],
    alone: Any,
    loop: asyncio.AbstractEventLoop,
    number: int,
    on_asyncio: bool,
    way: str,
    shape: str,
    key: Any,
    value: Any,
) -> None:
    assume(number == 1 or shape != "several" or way not in ON_ONE_SHARD)
    assume(len(refusals(alone, key, value)) < 2)  # either may come first
    mesh, amesh = pools[number]
    mesh.flushall()
    alone.flushall()
    calls = SHAPES[shape](key, value)
    if on_asyncio:
        ours = outcome(lambda: loop.run_until_complete(run_async(amesh, way, key, calls)))
    else:
        ours = outcome(lambda: run(mesh, way, key, calls))
    theirs = outcome(lambda: [alone.execute_command(*call) for call in calls])
    assert same(ours, theirs), (ours, theirs)
    assert content(mesh) == content(alone)


def is_one_name(argument: Any) -> bool:
    """Return whether redis-py takes a value for one channel, not for a list of channels."""
    return isinstance(argument, (str, bytes)) or not (
        hasattr(argument, "__iter__") or type(argument).__hash__ is None
    )


def heard(client: Any, channel: Any, message: Any) -> Any:
    """Return what a subscriber gets of a message, or the error."""
    pubsub = client.pubsub(ignore_subscribe_messages=True)
    try:
        pubsub.subscribe(channel)
        assert client.publish(channel, message) == 1
        while (got := pubsub.get_message(timeout=1)) is None:
            pass
        return got
    finally:
        pubsub.close()


async def heard_async(client: Any, channel: Any, message: Any) -> Any:
    """As `heard`, with the asyncio client."""
    async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(channel)
        assert await client.publish(channel, message) == 1
        while (got := await pubsub.get_message(timeout=1)) is None:
            pass
        return got


@real
@given(st.booleans(), ARGUMENTS.filter(is_one_name), ARGUMENTS)
def test_channels_and_messages_are_those_of_redis_py(
    pools: dict[int, tuple[Any, Any]],
    alone: Any,
    loop: asyncio.AbstractEventLoop,
    on_asyncio: bool,
    channel: Any,
    message: Any,
) -> None:
    assume(len(refusals(alone, channel, message)) < 2)
    mesh, amesh = pools[3]
    theirs = outcome(lambda: heard(alone, channel, message))
    if on_asyncio:
        ours = outcome(lambda: loop.run_until_complete(heard_async(amesh, channel, message)))
    else:
        ours = outcome(lambda: heard(mesh, channel, message))
    assert same(ours, theirs), (ours, theirs)


@pytest.mark.parametrize("options", [{"encoding": "latin-1"}, {"encoding": "utf-16"}])
def test_routes_and_channels_go_by_the_encoding_asked_for(
    shards: LocalStack, loop: asyncio.AbstractEventLoop, options: dict[str, Any]
) -> None:
    url, names = shards.info["url"], [f"caf\u00e9{n}" for n in range(8)]
    with CacheMesh.from_url(url) as plain, CacheMesh.from_url(url, **options) as mesh:
        plain.flushall()
        for name in names:
            raw = name.encode(options["encoding"])
            assert mesh.set(name, name) and plain.get(raw) == raw
            assert mesh.shard_for(name) == plain.shard_for(raw)
            message = {"type": "message", "pattern": None, "channel": raw, "data": raw}
            assert heard(mesh, name, name) == message
            got: list[Any] = []
            with mesh.pubsub() as pubsub:
                pubsub.subscribe(**{name: got.append})
                plain.publish(raw, raw)
                while not got:
                    pubsub.get_message(timeout=0.05)
            assert got == [message]

    async def body() -> None:
        async with AsyncCacheMesh.from_url(url, **options) as mesh:
            for name in names:
                raw = name.encode(options["encoding"])
                assert await mesh.get(name) == raw
                message = {"type": "message", "pattern": None, "channel": raw, "data": raw}
                assert await heard_async(mesh, name, name) == message

    loop.run_until_complete(body())
