"""Registering shards with real Sentinels, and asking them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import redis

from cachemesh.core.errors import SentinelUnavailableError
from cachemesh.local import LocalStack
from metaserver.process.config import RedisAuth
from metaserver.redis_io.sentinel_group import SentinelGroup
from metaserver.redis_io.sentinel_replies import DEFAULT_OPTIONS
from tests.support import metaserver_loops
from tests.support.metaserver_loops import NETWORKS
from tests.support.plain_redis import connect
from tests.support.relay import LateRelay, Relay
from tests.support.sentinels import keep_masters
from tests.support.waiting import AT_MOST, until

NOBODY = RedisAuth()


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, metaservers=0, dashboard=False) as stack:
        keep_masters(stack)
        yield stack


@pytest.fixture
def sentinels(stack: LocalStack) -> Iterator[SentinelGroup]:
    with metaserver_loops.sentinels(stack) as sentinels:
        yield sentinels
        sentinels.unregister("x")


def options(sentinels: SentinelGroup, shard: str) -> set[tuple[tuple[str, str], ...]]:
    """Return the different sets of options that the Sentinels have for a shard."""
    views = sentinels.views([shard]).values()
    return {tuple(sorted(view.shards[shard].options.items())) for view in views}


def test_register_is_idempotent_and_sets_everything(
    stack: LocalStack, sentinels: SentinelGroup
) -> None:
    master = str(stack.start_redis().address)
    given = {"down-after-milliseconds": "700", "failover-timeout": "9000", "parallel-syncs": "2"}
    for _ in range(2):
        outcome = sentinels.register("x", master, 3, NOBODY, given)
        assert set(outcome.done) == set(stack.info["sentinels"])
        assert (outcome.failed, outcome.majority) == ({}, True)
        assert options(sentinels, "x") == {tuple(sorted(given.items()))}
        assert {view.shards["x"].quorum for view in sentinels.views(["x"]).values()} == {3}
    assert sentinels.master_of("x") == master
    assert sentinels.monitored()["x"] == master
    assert sentinels.options_of("x") == given
    for _ in range(2):
        assert sentinels.unregister("x").failed == {}
        assert sentinels.master_of("x") is None
        assert "x" not in sentinels.monitored()


def test_one_sentinel_can_be_told_alone(stack: LocalStack, sentinels: SentinelGroup) -> None:
    master = str(stack.start_redis().address)
    first, *others = stack.info["sentinels"]
    sentinels.register("x", master, 2, NOBODY, only=[first])
    views = sentinels.views(["x"])
    assert [at for at, view in views.items() if "x" in view.shards] == [first]
    assert sentinels.master_of("x") is None, "one of three is no majority"
    assert sentinels.monitored()["x"] == master
    assert sentinels.options_of("x") == DEFAULT_OPTIONS
    assert sentinels.register("x", master, 2, NOBODY, only=others).done == tuple(others)
    assert sentinels.master_of("x") == master


def test_a_master_is_certain_where_those_who_answer_name_one(
    stack: LocalStack, sentinels: SentinelGroup
) -> None:
    former, master = (str(stack.start_redis().address) for _ in range(2))
    first, *others = stack.info["sentinels"]
    sentinels.register("x", master, 2, NOBODY, only=[first])
    known = {"cache-0": stack.master_of("cache-0")}
    assert sentinels.agreed(["cache-0", "x", "nobody"]) == {**known, "x": master}
    sentinels.register("x", former, 2, NOBODY, only=others)
    assert sentinels.monitored()["x"] == former, "most of them"
    assert sentinels.agreed(["cache-0", "x"]) == {**known, "x": None}
    sentinels.unregister("x", only=others)
    sentinels.register("x", master, 2, NOBODY, only=others)
    assert sentinels.agreed(["x"]) == {"x": master}


def test_where_half_of_the_sentinels_do_not_answer_no_master_is_certain(stack: LocalStack) -> None:
    first, second, _ = stack.info["sentinels"]
    with SentinelGroup([first, "127.0.0.1:1"], NETWORKS, NOBODY) as some:
        assert some.agreed(["cache-0"]) == {"cache-0": None}
    with SentinelGroup([first, second, "127.0.0.1:1"], NETWORKS, NOBODY) as some:
        assert some.agreed(["cache-0"]) == {"cache-0": stack.master_of("cache-0")}
    with SentinelGroup(["127.0.0.1:1"], NETWORKS, NOBODY, timeout=0.5) as nobody:
        assert nobody.agreed(["x"]) == {"x": None}
    with SentinelGroup([], NETWORKS, NOBODY) as none:
        assert none.agreed(["x"]) == {}


def test_who_is_silent_is_told(stack: LocalStack) -> None:
    first, second, third = stack.info["sentinels"]
    with Relay(third) as relay:
        relay.cut("refuses")
        with SentinelGroup(
            [first, second, relay.address], NETWORKS, NOBODY, timeout=AT_MOST
        ) as all_:
            assert all_.silent() == {relay.address}
            relay.heal()
            assert all_.silent() == frozenset()


def test_a_change_may_take_longer_than_a_question(stack: LocalStack) -> None:
    """A Sentinel has its file on disk before it answers, which a busy disk delays."""
    timeout = 3.0
    master = str(stack.start_redis().address)
    with (
        LateRelay(stack.info["sentinels"][0], b"MONITOR") as relay,
        SentinelGroup([relay.address], NETWORKS, NOBODY, timeout=timeout) as one,
    ):
        late = threading.Timer(timeout * 1.2, relay.arrives.set)
        late.start()
        assert one.register("late", master, 1, NOBODY).failed == {}
        assert relay.kept.is_set()
        assert one.unregister("late").failed == {}
        late.join()


def test_a_name_in_use_elsewhere_is_left_alone(stack: LocalStack, sentinels: SentinelGroup) -> None:
    before = sentinels.master_of("cache-0")
    outcome = sentinels.register("cache-0", "127.0.0.1:1", 2, NOBODY)
    assert not outcome.majority
    assert set(outcome.failed) == set(stack.info["sentinels"])
    assert all(str(before) in reason for reason in outcome.failed.values())
    assert sentinels.unregister("cache-0", master="127.0.0.1:1").failed == {}
    assert sentinels.master_of("cache-0") == before


def test_what_sentinel_refuses_is_not_left_half_done(
    stack: LocalStack, sentinels: SentinelGroup
) -> None:
    master = str(stack.start_redis().address)
    outcome = sentinels.register("x", master, 2, NOBODY, {"down-after-milliseconds": "-3"})
    assert set(outcome.failed) == set(stack.info["sentinels"])
    assert "x" not in sentinels.monitored()


def test_sentinel_logs_in_with_the_instance_password(
    stack: LocalStack, sentinels: SentinelGroup
) -> None:
    master = str(stack.start_redis(None, "requirepass t0p-s3cret", "masterauth t0p-s3cret").address)
    outcome = sentinels.register("x", master, 2, RedisAuth(None, "t0p-s3cret"))
    assert outcome.failed == {}
    assert "t0p-s3cret" not in f"{outcome}{sentinels.views(['x'])}{sentinels!r}"

    def connected() -> bool:
        views = sentinels.views(["x"]).values()
        return all(view.shards["x"].flags == {"master"} for view in views)

    until(connected)


def test_a_view_names_replicas_quorum_and_verdict(
    stack: LocalStack, sentinels: SentinelGroup
) -> None:
    shard = stack.info["shards"][0]
    for view in sentinels.views(["cache-0", "no-such-shard"]).values():
        assert view.error is None
        assert set(view.shards) == {"cache-0"}
        seen = view.shards["cache-0"]
        assert (seen.master, list(seen.replicas)) == (shard["master"], shard["replicas"])
        assert (seen.sentinels, seen.quorum, seen.usable) == (3, 2, True)
        assert "3 usable Sentinels" in seen.detail


def test_one_dead_and_one_hanging_sentinel(stack: LocalStack, sentinels: SentinelGroup) -> None:
    dead, hanging, alive = stack.info["sentinels"]
    stack.process(hanging).pause()
    stack.process(dead).kill()
    try:
        views = sentinels.views(["cache-0"])
        assert views[alive].error is None
        assert views[dead].error == "Connection refused"
        assert views[hanging].error is not None
        assert sentinels.master_of("cache-0") is not None
        outcome = sentinels.register("x", str(stack.start_redis().address), 2, NOBODY)
        assert (outcome.done, outcome.majority) == ((alive,), False)
    finally:
        stack.process(hanging).resume()
        stack.process(dead).restart()
    # Broken connections are replaced without a failed call.
    views = sentinels.views(["cache-0"])
    assert [view.error for view in views.values()] == [None] * 3


def test_no_sentinel_answers() -> None:
    with SentinelGroup(["127.0.0.1:1"], NETWORKS, NOBODY) as nobody:
        assert nobody.master_of("x") is None
        with pytest.raises(SentinelUnavailableError, match=r"127\.0\.0\.1:1"):
            nobody.monitored()


def test_an_instance_is_no_sentinel(stack: LocalStack) -> None:
    master = stack.info["shards"][0]["master"]
    with SentinelGroup([master], NETWORKS, NOBODY) as nonsense:
        assert nonsense.views(["x"])[master].error is not None
        assert nonsense.views([])[master].error is None
        assert set(nonsense.register("x", master, 1, NOBODY).failed) == {master}
        with pytest.raises(SentinelUnavailableError):
            nonsense.monitored()


def test_a_sentinel_with_a_password(stack: LocalStack) -> None:
    address = stack.info["sentinels"][0]
    with connect(address) as client:
        client.execute_command("ACL", "SETUSER", "default", ">s3ntinel-pass")
    try:
        with SentinelGroup([address], NETWORKS, NOBODY) as stranger:
            error = stranger.views([])[address].error
            assert error is not None
            assert "password" in error
        with SentinelGroup([address], NETWORKS, RedisAuth(None, "s3ntinel-pass")) as friend:
            assert friend.master_of("cache-0") is not None
    finally:
        host, _, port = address.rpartition(":")
        with redis.Redis(host, int(port), password="s3ntinel-pass") as client:
            client.execute_command("ACL", "SETUSER", "default", "nopass")
