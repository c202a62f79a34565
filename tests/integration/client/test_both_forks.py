"""A client of either kind that is used in a process and, after a fork, in its child as well."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import redis

from cachemesh.local import Process
from tests.support.both_clients import CLIENTS, Caller, Driven, calling
from tests.support.forked_child import in_child
from tests.support.movable_pool import MovablePool, movable_pool_of
from tests.support.self_identifying_calls import keys_of, wrong
from tests.support.waiting import AT_MOST, until

both = pytest.mark.parametrize("kind", CLIENTS)


@pytest.fixture
def call(kind: str, site: MovablePool) -> Iterator[Caller]:
    with calling(kind, site.url, command_timeout=AT_MOST, connect_timeout=AT_MOST) as caller:
        yield caller


def hears(call: Caller, pubsub: Driven, word: str) -> bool:
    """Return whether the subscription gets what is published, and nothing else."""
    call.driven.publish("c", word)
    message = until(lambda: pubsub.get_message(ignore_subscribe_messages=True, timeout=1.0))
    return bool(message["data"] == word.encode())


def subscribed(call: Caller) -> Driven:
    pubsub = call.drive(call.mesh.pubsub())
    pubsub.subscribe("c")
    return pubsub


@both
def test_every_way_to_send_goes_on_in_both(call: Caller, site: MovablePool) -> None:
    keys = keys_of(site)
    view = call.mesh.with_options(retry_writes=True)
    meshes = (call.mesh, view, view.client())

    def use(number: int) -> None:
        for mesh in meshes:
            assert wrong(call, mesh, keys, number) == []

    use(1)
    for number in (2, 4):
        in_child(call, partial(use, number))
        use(number + 1)
    call.drive(meshes[2]).close()


@both
def test_a_subscription_of_the_parent_goes_on(call: Caller) -> None:
    pubsub = subscribed(call)
    assert hears(call, pubsub, "before")

    def body() -> None:
        mine = subscribed(call)
        assert hears(call, mine, "child")
        mine.close()

    in_child(call, body)
    assert until(lambda: pubsub.get_message(timeout=1.0))["data"] == b"child"
    assert hears(call, pubsub, "after")
    pubsub.close()


@both
def test_a_subscription_used_in_the_child_is_one_of_its_own(call: Caller) -> None:
    pubsub = subscribed(call)
    assert hears(call, pubsub, "before")

    def body() -> None:
        while pubsub.get_message(timeout=0.1):
            pass  # it subscribes
        assert hears(call, pubsub, "child")
        pubsub.close()
        assert not pubsub.subscribed

    in_child(call, body)
    assert until(lambda: pubsub.get_message(timeout=1.0))["data"] == b"child"
    assert hears(call, pubsub, "after")
    pubsub.close()


@both
def test_what_the_parent_watches_the_child_does_not(call: Caller, site: MovablePool) -> None:
    key, _ = keys_of(site)
    pipe = call.drive(call.mesh.pipeline())
    pipe.watch(key)

    def body() -> None:
        with pytest.raises(redis.WatchError):
            pipe.get(key)
        pipe.reset()
        pipe.watch(key)
        pipe.it.multi()
        pipe.it.set(key, "child")
        assert pipe.execute() == [True]

    in_child(call, body)
    assert pipe.get(key) == b"child"
    pipe.it.multi()
    pipe.it.set(key, "parent")
    with pytest.raises(redis.WatchError, match="changed"):
        pipe.execute()


@both
def test_the_one_connection_of_a_single_client_is_the_parents(
    kind: str, redises: list[Process], tmp_path: Path
) -> None:
    with (
        movable_pool_of(redises[:1], tmp_path) as site,
        calling(kind, site.url, single_connection_client=True) as call,
    ):
        mine = call.driven.client_id()

        def body() -> None:
            assert call.driven.client_id() != mine

        in_child(call, body)
        assert call.driven.client_id() == mine
