"""A pull between two real shards: every type of key, and everything that can refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachemesh.core.migration.late_copies import may_bring_copies
from cachemesh.core.migration.pull import (
    Cut,
    Link,
    NoRoomError,
    NotReplicatedError,
    Pull,
    Side,
    SlowTransferError,
    TargetRefusedError,
    TransferError,
)
from cachemesh.core.names import parse_address
from cachemesh.local import LocalStack
from tests.support.plain_redis import connect, direct
from tests.support.sentinels import keep_masters
from tests.support.waiting import AT_MOST, until

SIDES: tuple[Side, Side] = ("source", "target")
KEYS = [b"a", b"b", b"c", b"d", b"\x00\xff"]
PLACES = ["source", "target", "both", "neither"]
WAIT_MS = 300  # for what never comes
LONG_MS = int(AT_MOST * 1000)  # for what comes


class Shards:
    """The shard that loses keys, and the one that gains them."""

    def __init__(self, stack: LocalStack) -> None:
        first, second = stack.info["shards"]
        self.stack = stack
        self.addresses: dict[Side, str] = {"source": first["master"], "target": second["master"]}
        self.replicas: dict[Side, str] = {
            "source": first["replicas"][0],
            "target": second["replicas"][0],
        }
        self.source: Any = connect(self.addresses["source"])
        self.target: Any = connect(self.addresses["target"])

    def link(self, timeout_ms: int = LONG_MS, **changes: Any) -> Link:
        target = parse_address(self.addresses["target"])
        return Link(**{"target": target, "source_replicas": 1, "target_replicas": 1,
                       "timeout_ms": timeout_ms, **changes})  # fmt: skip

    def pull(self, *keys: bytes, link: Link | None = None, before: Before | None = None) -> int:
        """Run a pull to its end; return how many requests it took.

        Args:
            before: called before each request, with its pull.
        """
        pull: Pull | Cut | None = Pull(link or self.link(), keys)
        requests = 0
        while pull is not None:
            if before is not None and isinstance(pull, Pull):
                before(pull)
            asked = pull.ask()
            pull = pull.answered(self.replies(asked.side, asked.commands), 0.0)
            requests += 1
        return requests

    def replies(self, side: Side, commands: Any) -> list[Any]:
        host, port = parse_address(self.addresses[side])
        untyped: Any = redis.Connection
        connection = untyped(host, port, socket_timeout=AT_MOST + 5)
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            return [_reply(connection) for _ in commands]
        finally:
            connection.disconnect()

    @contextmanager
    def stopped_replica(self, side: Side) -> Iterator[None]:
        """Stop the replica of a side for the block."""
        replica = self.stack.process(self.replicas[side])
        replica.pause()
        try:
            yield
        finally:
            replica.resume()


Before = Callable[[Pull], object]


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=1, sentinels=1, metaservers=0, dashboard=False) as running:
        keep_masters(running)
        yield running


@pytest.fixture
def shards(stack: LocalStack) -> Iterator[Shards]:
    made = Shards(stack)
    for each in (made.source, made.target):
        each.flushall()
    yield made
    for each in (made.source, made.target):
        each.config_set("maxmemory", 0)
        each.close()


def test_keys_of_all_types_with_their_ttl(shards: Shards) -> None:
    source, target = shards.source, shards.target
    source.set("string", b"\x00\xff", ex=1000)
    source.rpush("list", 1, 2)
    source.sadd("set", "a")
    source.hset("hash", "field", "value")
    source.zadd("zset", {"member": 1.5})
    source.xadd("stream", {"a": "b"}, id="1-1")
    keys = source.keys()
    dumps = {key: source.dump(key) for key in keys}

    assert shards.pull(*keys) == 3
    assert source.dbsize() == 0
    assert {key: target.dump(key) for key in keys} == dumps
    assert 900 < target.ttl("string") <= 1000
    assert target.ttl("list") == -1
    for side in SIDES:
        with connect(shards.replicas[side]) as replica:
            assert replica.dbsize() == (len(keys) if side == "target" else 0)


def test_what_the_source_has_not_takes_two_requests(shards: Shards) -> None:
    assert shards.pull(b"a", b"b") == 2


def test_some_are_absent_and_some_at_the_target_already(shards: Shards) -> None:
    shards.source.mset({"old": "of the source", "only": "there"})
    shards.target.mset({"old": "of the target", "new": "of the target"})
    shards.pull(b"absent", b"old", b"only", b"new")
    assert shards.source.dbsize() == 0
    expected = [b"of the target", b"there", b"of the target", None]
    assert shards.target.mget("old", "only", "new", "absent") == expected


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(PLACES), min_size=1))
def test_wherever_the_keys_are(shards: Shards, places: dict[bytes, str]) -> None:
    """Law: S has none of them, T has what it had and, of the others, what S had."""
    for each in (shards.source, shards.target):
        each.flushall()
    had = {side: {k for k, at in places.items() if at in (side, "both")} for side in SIDES}
    for side, server in zip(SIDES, (shards.source, shards.target), strict=True):
        for key in had[side]:
            server.set(key, side)
    shards.source.set("other", "stays")

    shards.pull(*places)
    assert shards.source.keys() == [b"other"]
    expected = {k: b"target" if k in had["target"] else b"source" for k in had["source"]}
    expected |= dict.fromkeys(had["target"], b"target")
    assert {k: shards.target.get(k) for k in shards.target.scan_iter()} == expected


def test_a_target_that_is_full(shards: Shards) -> None:
    shards.source.set("big", "x" * 100_000)
    shards.target.config_set("maxmemory", 1)
    with pytest.raises(NoRoomError, match="no room"):
        shards.pull(b"big")
    assert shards.source.strlen("big") == 100_000
    shards.target.config_set("maxmemory", 0)
    assert shards.pull(b"big") == 3


def test_a_target_that_evicts_at_once(shards: Shards) -> None:
    shards.source.set("key", "value")
    with pytest.raises(NoRoomError, match="did not keep the keys, 5 times"):
        shards.pull(b"key", before=lambda _: shards.target.flushall())
    assert shards.source.get("key") == b"value"


def test_a_target_that_nobody_reaches(shards: Shards) -> None:
    shards.source.set("key", "value")
    nowhere = shards.link(timeout_ms=WAIT_MS, target=parse_address("127.0.0.1:1"))
    with pytest.raises(TransferError):
        shards.pull(b"key", link=nowhere)
    assert shards.source.get("key") == b"value"


def test_a_target_that_does_not_answer(shards: Shards) -> None:
    shards.source.set("key", "value")
    shards.target.client_pause(LONG_MS, all=False)
    try:
        with pytest.raises(SlowTransferError):
            shards.pull(b"key")
    finally:
        shards.target.client_unpause()
    assert (shards.source.get("key"), shards.target.dbsize()) == (b"value", 0)
    assert shards.pull(b"key") == 3


def test_the_connection_of_a_source_is_told_from_all_others(shards: Shards) -> None:
    shards.source.set("key", "value")
    shards.pull(b"key")
    shards.target.ping()
    (listed,) = shards.replies("target", [("CLIENT", "LIST")])
    lines = listed.decode().splitlines()
    (ours,) = (line for line in lines if " cmd=restore " in line)
    assert list(may_bring_copies(listed)) == [int(ours.split()[0].removeprefix("id="))]
    assert {" flags=S " in line for line in lines} == {True, False}
    assert any(" name=sentinel-" in line for line in lines)


def test_a_target_that_is_a_replica(shards: Shards) -> None:
    shards.source.set("key", "value")
    there = shards.link(target=parse_address(shards.replicas["target"]))
    with pytest.raises(TransferError, match="READONLY"):
        shards.pull(b"key", link=there)
    assert shards.source.get("key") == b"value"


def test_a_target_with_a_password(shards: Shards) -> None:
    shards.source.set("key", "value")
    shards.target.execute_command("ACL SETUSER mover on >secret ~* +@all")
    shards.target.execute_command("ACL SETUSER nobody on >secret")
    try:
        for login, refusal in ((("mover", "wrong"), "WRONGPASS"), (("nobody", "secret"), "NOPERM")):
            with pytest.raises(TargetRefusedError, match=refusal) as raised:
                shards.pull(b"key", link=shards.link(login=login))
            assert "wrong" not in str(raised.value).lower().replace("wrongpass", "")
        assert "secret" not in repr(Pull(shards.link(login=("mover", "secret")), (b"key",)).ask())
        shards.pull(b"key", link=shards.link(login=("mover", "secret")))
    finally:
        shards.target.execute_command("ACL DELUSER mover nobody")
    assert (shards.source.dbsize(), shards.target.get("key")) == (0, b"value")


def test_the_source_itself_refuses(shards: Shards) -> None:
    shards.source.set("key", "value")
    with direct(shards.addresses["source"]) as other:
        other.execute_command("ACL SETUSER default -migrate")
        try:
            with pytest.raises(redis.exceptions.NoPermissionError):
                shards.pull(b"key")
        finally:
            other.execute_command("ACL SETUSER default +@all")


def test_the_replica_of_the_target_does_not_acknowledge(shards: Shards) -> None:
    shards.source.set("key", "value")
    with shards.stopped_replica("target"):
        with pytest.raises(NotReplicatedError) as raised:
            shards.pull(b"key", link=shards.link(timeout_ms=WAIT_MS))
        assert raised.value.side == "target"
        assert shards.source.get("key") == b"value"
    shards.pull(b"key")
    assert shards.source.dbsize() == 0


def test_the_replica_of_the_source_does_not_know_that_somebody_removed_the_key(
    shards: Shards,
) -> None:
    shards.source.set("key", "value")
    until(lambda: connect(shards.replicas["source"]).dbsize() == 1)
    with shards.stopped_replica("source"):
        shards.source.unlink("key")
        with pytest.raises(NotReplicatedError) as raised:
            shards.pull(b"key", link=shards.link(timeout_ms=WAIT_MS))
        assert raised.value.side == "source"
    shards.pull(b"key")


def test_without_replicas_nobody_is_waited_for(shards: Shards) -> None:
    shards.source.set("key", "value")
    with shards.stopped_replica("source"), shards.stopped_replica("target"):
        alone = shards.link(source_replicas=0, target_replicas=0)
        assert shards.pull(b"key", link=alone) == 3
    assert (shards.source.dbsize(), shards.target.get("key")) == (0, b"value")
