"""Pub/sub of either kind of client: order, handlers, refusals, lost shards, and what is left."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

import cachemesh
from cachemesh.asyncio import listener
from cachemesh.local import Process
from tests.support.both_clients import CLIENTS, Caller, Driven, calling
from tests.support.movable_pool import MovablePool, movable_pool_of, reset, swap
from tests.support.plain_redis import direct, target
from tests.support.waiting import until

both = pytest.mark.parametrize("kind", CLIENTS)


@pytest.fixture
def site(redises: list[Process], tmp_path: Path) -> Iterator[MovablePool]:
    for process in redises:
        reset(process)
        with direct(process) as client:
            client.acl_setuser("default", True, nopass=True, channels=["*"], reset_channels=True)
    with movable_pool_of(redises[:2], tmp_path) as made:
        yield made


@pytest.fixture
def call(kind: str, site: MovablePool) -> Iterator[Caller]:
    with calling(kind, site.url, decode_responses=True, command_timeout=2.0) as caller:
        yield caller


@pytest.fixture
def pubsub(call: Caller) -> Iterator[Driven]:
    made = call.drive(call.mesh.pubsub())
    yield made
    made.close()


def said(pubsub: Driven) -> tuple[str, Any]:
    """Return type and data of the next message."""
    message = until(lambda: pubsub.get_message(timeout=1.0))
    return message["type"], message["data"]


def confirmed(pubsub: Driven, count: int) -> None:
    for _ in range(count):
        assert said(pubsub)[0].endswith("subscribe")


@both
def test_confirmations_stand_where_they_came(
    call: Caller, pubsub: Driven, site: MovablePool, redises: list[Process]
) -> None:
    first, second = site.keys("cache-0", 2)
    pubsub.subscribe(first)
    with direct(redises[0]) as other:
        for number in range(3):
            other.publish(first, number)
        pubsub.subscribe(second)
        other.publish(second, 3)
        pubsub.unsubscribe(first)
        other.publish(second, 4)
        pubsub.unsubscribe()
    heard = [said(pubsub) for _ in range(9)]
    assert heard == [
        ("subscribe", 1),
        *(("message", str(number)) for number in range(3)),
        ("subscribe", 2),
        ("message", "3"),
        ("unsubscribe", 1),
        ("message", "4"),
        ("unsubscribe", 0),
    ]
    assert not pubsub.subscribed


@both
def test_a_handler_is_called_by_whoever_asks_for_messages(
    kind: str, call: Caller, pubsub: Driven, site: MovablePool
) -> None:
    (name,), (other,) = site.keys(), site.keys("cache-1")
    got: list[Any] = []
    pubsub.subscribe(other, **{name: lambda message: got.append(message["data"])})
    pubsub.psubscribe(**{"none*": got.append})
    for data in ("1", "2"):
        assert call.driven.publish(name, data) == 1
    call.driven.publish(other, "o")
    confirmed(pubsub, 3)
    assert got == [], "nobody has asked yet"
    left: list[Any] = []
    while len(got) + len(left) < 3:
        if (message := pubsub.get_message(timeout=60.0)) is not None:
            left.append(message["data"])
    assert (got, left) == (["1", "2"], ["o"])


@both
def test_what_a_handler_raises_is_the_apps_and_ends_no_subscription(
    kind: str, call: Caller, pubsub: Driven, site: MovablePool
) -> None:
    (name,) = site.keys()
    got: list[Any] = []

    def handle(message: dict[str, Any]) -> None:
        got.append(message["data"])
        if message["data"] == "bad":
            raise ZeroDivisionError("the app's own")

    pubsub.subscribe(**{name: handle})
    confirmed(pubsub, 1)
    for data in ("good", "bad", "better"):
        assert call.driven.publish(name, data) == 1
    raised = []
    while len(got) < 3:
        try:
            pubsub.get_message(timeout=1.0)
        except ZeroDivisionError as error:
            raised.append(error)
    assert got == ["good", "bad", "better"]
    assert len(raised) == 1


@both
def test_a_loop_that_calls_handlers_hands_on_what_they_raise(
    kind: str, call: Caller, pubsub: Driven, site: MovablePool
) -> None:
    (name,) = site.keys()
    got: list[Any] = []
    raised: list[BaseException] = []

    def handle(message: dict[str, Any]) -> None:
        got.append(message["data"])
        raise ZeroDivisionError("the app's own")

    pubsub.subscribe(**{name: handle})
    if kind == "sync":
        thread = pubsub.it.run_in_thread(
            sleep_time=0.05, exception_handler=lambda error, *_: raised.append(error)
        )
        stop: Callable[[], Any] = thread.stop
    else:
        assert call.loop is not None
        task = asyncio.run_coroutine_threadsafe(
            pubsub.it.run(exception_handler=lambda error, _: raised.append(error)), call.loop
        )
        stop = task.cancel
    for data in ("1", "2"):
        assert call.driven.publish(name, data) == 1
    until(lambda: len(raised) == 2)
    stop()
    if kind == "sync":
        thread.join()
    assert got == ["1", "2"]
    assert {type(error) for error in raised} == {ZeroDivisionError}


def test_a_handler_may_be_a_coroutine(site: MovablePool) -> None:
    (name,) = site.keys()
    got: list[Any] = []

    async def handle(message: dict[str, Any]) -> None:
        await asyncio.sleep(0)  # the loop has a turn in its midst, as with a real coroutine
        got.append(message["data"])

    with calling("asyncio", site.url) as call:
        pubsub = call.drive(call.mesh.pubsub(ignore_subscribe_messages=True))
        pubsub.subscribe(**{name: handle})
        call.driven.publish(name, "1")
        until(lambda: pubsub.get_message(timeout=0.1) or got)
        assert got == [b"1"]
        pubsub.close()


@both
def test_a_refused_channel_is_an_error_and_harms_no_other(
    call: Caller, pubsub: Driven, site: MovablePool, redises: list[Process]
) -> None:
    name, forbidden = site.keys("cache-0", 2)
    with direct(redises[0]) as client:
        client.acl_setuser("default", True, nopass=True, channels=[name], reset_channels=True)
    pubsub.subscribe(name)
    confirmed(pubsub, 1)
    for _ in range(2):
        with pytest.raises(redis.exceptions.NoPermissionError):
            pubsub.subscribe(forbidden)
    pubsub.unsubscribe(forbidden)
    confirmed(pubsub, 1)
    call.driven.publish(name, "v")
    assert said(pubsub) == ("message", "v")


@both
def test_a_lost_shard_holds_up_no_other(
    call: Caller, pubsub: Driven, site: MovablePool, redises: list[Process]
) -> None:
    """Messages of other shards still come; without any, the error of the lost shard is raised."""
    (gone,), (there,) = site.keys(), site.keys("cache-1")
    pubsub.subscribe(gone)
    pubsub.subscribe(there)
    confirmed(pubsub, 2)
    redises[0].kill()
    try:
        errors: list[Exception] = []

        def heard() -> Any:
            try:
                return pubsub.get_message(timeout=0.05)
            except cachemesh.ShardUnavailableError as error:
                errors.append(error)
                return None

        until(lambda: heard() or errors)
        for number in range(5):
            call.driven.publish(there, number)
            assert until(heard)["data"] == str(number)
        with direct(redises[1]) as client:  # another connection is lost while one is away
            client.client_kill_filter(_type="pubsub")
            until(lambda: (heard(), client.publish(there, "again"))[1])
        assert until(heard)["data"] == "again"
        assert errors
    finally:
        redises[0].restart()
    until(lambda: (heard(), call.driven.publish(gone, "back"))[1])
    assert until(heard)["data"] in ("back", "again")


@both
def test_subscriptions_outlive_the_closing_of_the_client(
    call: Caller, pubsub: Driven, site: MovablePool, redises: list[Process]
) -> None:
    """The listener gets one error; the next call subscribes again, at the master of then."""
    (name,) = site.keys()
    pubsub.subscribe(name)
    pubsub.psubscribe("x*")
    confirmed(pubsub, 2)
    call.driven.close()
    with pytest.raises(redis.ConnectionError, match="client was closed"):
        pubsub.get_message(timeout=0.01)
    assert pubsub.get_message(timeout=0.01) is None
    assert until(lambda: call.driven.publish(name, "1")) == 1
    assert said(pubsub) == ("message", "1")
    swap(redises[0], redises[2])
    site.masters["cache-0"] = target(redises[2])
    call.driven.set(name, "v")
    with direct(redises[2]) as new:

        def published() -> int:
            pubsub.get_message(timeout=0.01)
            return int(new.publish(name, "2"))

        until(published)
    while said(pubsub)[1] != "2":
        pass


@both
def test_nobody_hears_after_close(call: Caller, pubsub: Driven, site: MovablePool) -> None:
    (name,) = site.keys()
    pubsub.subscribe(name)
    pubsub.psubscribe("*")
    assert call.driven.publish(name, "1") == 2
    pubsub.close()
    assert not pubsub.subscribed
    until(lambda: call.driven.publish(name, "2") == 0)
    pubsub.subscribe(name)
    confirmed(pubsub, 1)
    call.driven.publish(name, "3")
    assert said(pubsub) == ("message", "3")


@both
def test_what_is_dropped_hears_no_more(kind: str, call: Caller, site: MovablePool) -> None:
    (name,) = site.keys()
    dropped: Any = call.mesh.pubsub()
    call.on(dropped, lambda pubsub: pubsub.subscribe(name))
    assert call.driven.publish(name, "1") == 1
    del dropped
    gc.collect()
    until(lambda: call.driven.publish(name, "2") == 0)


def test_a_subscription_that_is_given_up_is_made_anew(site: MovablePool) -> None:
    names = site.keys("cache-0", 30)

    async def body(mesh: Any) -> None:
        pubsub = mesh.pubsub(ignore_subscribe_messages=True)
        for at, name in enumerate(names):
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(pubsub.subscribe(name), 0.00002 * at)
        await pubsub.subscribe(names[0])
        for name in names:
            assert await mesh.publish(name, name) == 1
        heard: set[str] = set()
        while len(heard) < len(names):
            message = await pubsub.get_message(timeout=60.0)
            assert message is not None
            heard.add(message["data"].decode())
        await pubsub.aclose()

    with calling("asyncio", site.url) as call:
        call(body, 120.0)


def test_a_slow_app_is_the_servers_to_deal_with(
    site: MovablePool, redises: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most 1,000 messages wait that nobody asks for; subscriptions change all the same."""
    monkeypatch.setattr(listener, "MOST_WAITING", 10)
    first, second = site.keys("cache-0", 2)
    with calling("asyncio", site.url) as call, direct(redises[0]) as other:
        pubsub = call.drive(call.mesh.pubsub(ignore_subscribe_messages=True))
        pubsub.subscribe(first)
        for number in range(100):
            other.publish(first, number)
        until(lambda: len(pubsub.it._mailbox) >= 10)
        call(lambda mesh: mesh.ping())
        assert len(pubsub.it._mailbox) <= 12
        pubsub.subscribe(second)
        other.publish(second, 100)
        heard = [int(said(pubsub)[1]) for _ in range(101)]
        assert heard == list(range(101))
        pubsub.close()
