"""Closing a client ends what waits on it: commands that block on a server, and subscriptions."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from cachemesh.local import LocalStack
from tests.support.both_clients import CLIENTS, calling
from tests.support.waiting import until

Use = Callable[[Any], Any]


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=0, sentinels=1, metaservers=0, dashboard=False) as running:
        yield running


def blocked(stack: LocalStack) -> int:
    """Return how many clients wait in a command or for messages."""
    waiting = 0
    for shard in stack.info["shards"]:
        host, port = shard["master"].split(":")
        with redis.Redis(host, int(port)) as client:
            info: Any = client.info("clients")
            waiting += info["blocked_clients"] + client.pubsub_numsub("news")[0][1]
    return waiting


def listens(mesh: Any) -> Any:
    pubsub = mesh.pubsub(ignore_subscribe_messages=True)
    subscribed = pubsub.subscribe("news")
    if not inspect.isawaitable(subscribed):
        return list(pubsub.listen())

    async def body() -> Any:
        await subscribed
        return [message async for message in pubsub.listen()]

    return body()


WAITS: dict[str, Use] = {
    "BLPOP": lambda mesh: mesh.blpop(["nobody"], timeout=0),
    "BLPOP for a while": lambda mesh: mesh.blpop(["nobody"], timeout=500),
    "BZPOPMIN": lambda mesh: mesh.bzpopmin("nothing", timeout=0),
    "XREAD": lambda mesh: mesh.xread({"stream": "$"}, block=0),
    "listen": listens,
    "where misses are wanted": lambda mesh: mesh.with_options(on_error="miss").blpop("nobody", 0),
}


@pytest.mark.parametrize("name", WAITS)
@pytest.mark.parametrize("kind", CLIENTS)
def test_closing_ends_what_waits(stack: LocalStack, kind: str, name: str) -> None:
    came: list[object] = []
    with calling(kind, stack.info["url"]) as caller:

        def wait() -> None:
            try:
                came.append(caller(WAITS[name], 120))
            except redis.ConnectionError as error:
                came.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: blocked(stack))
        assert not came
        caller(lambda mesh: mesh.close() if kind == "sync" else mesh.aclose())
        thread.join(60)
        assert "client was closed" in str(came[0])
        until(lambda: not blocked(stack))
        assert caller(lambda mesh: mesh.set("k", "v")) is True, "a later command starts again"


@pytest.mark.parametrize("kind", CLIENTS)
def test_subscriptions_from_before_go_on_with_the_next_call(stack: LocalStack, kind: str) -> None:
    with calling(kind, stack.info["url"]) as caller:
        pubsub = caller.mesh.pubsub(ignore_subscribe_messages=True)
        caller(lambda _: pubsub.subscribe("news"))
        caller(lambda mesh: mesh.close() if kind == "sync" else mesh.aclose())
        with pytest.raises(redis.ConnectionError, match="client was closed"):
            caller(lambda _: pubsub.get_message(timeout=0))
        assert caller(lambda _: pubsub.get_message(timeout=0)) is None
        caller(lambda mesh: mesh.publish("news", "x"))
        assert caller(lambda _: pubsub.get_message(timeout=60))["data"] == b"x"
        caller(lambda _: pubsub.close())
