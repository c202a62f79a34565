"""Moves that are impossible are refused before they begin, with the reason, and leave nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh.core.names import parse_address
from cachemesh.local import LocalStack
from cachemesh.local.binaries import find_redis_server
from metaserver.process.config import Config, RedisAuth, RedisTls
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.move_probe import (
    PREFIX,
    MoveImpossibleError,
    MoveNotTriedError,
    MoveProbe,
)
from tests.support.cli_in_process import run_here
from tests.support.metaserver_loops import NETWORKS
from tests.support.moved_pool import moving_stack
from tests.support.network_namespaces import MAJORITY, MINORITY, needs_namespaces, split_network
from tests.support.plain_redis import connect, direct
from tests.support.planned_moves import POOL, SPARE, PlannedPool
from tests.support.relay import SelectiveRelay
from tests.support.server_capabilities import needs_tls
from tests.support.waiting import AT_MOST, until

SECRET = "s3cret-of-the-metaserver"


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with moving_stack(replicas=1) as stack:
        yield stack


@pytest.fixture(scope="module")
def only(stack: LocalStack) -> PlannedPool:
    return PlannedPool(stack)


@pytest.fixture
def pool(stack: LocalStack, only: PlannedPool) -> Iterator[PlannedPool]:
    """The pool, which is as it was after each test, with no key of a probe."""
    before = only.api("GET", POOL).json["version"]
    yield only
    assert only.api("GET", POOL).json["version"] == before
    check_clean(stack, only)
    only.flush()


def check_clean(stack: LocalStack, pool: PlannedPool) -> None:
    """Check that no test key is left, and that the Sentinels know nothing of the spare shard."""
    for shard in ("cache-0", "cache-1", SPARE):
        with pool.shard(shard) as client:
            assert client.keys(f"{PREFIX}*") == [], shard
    with direct(stack.info["sentinels"][0]) as sentinel:
        assert {each["name"] for each in sentinel.sentinel_masters().values()} == {
            "cache-0",
            "cache-1",
        }


def refused(reply: Any, *parts: str) -> None:
    """Check a refusal: its code, what it says, and what it has as the next step."""
    assert (reply.status, reply.json["code"]) == (409, "move-impossible"), reply.text
    for part in parts:
        assert part in reply.json["detail"]
    assert "--strategy drop" in reply.json["next"]
    assert SECRET not in reply.text


@contextmanager
def without(address: str, *rules: str) -> Iterator[None]:
    """Take rights from the user of all, the metaserver included, for the block."""
    host, port = parse_address(address)
    with connect(address) as client:
        client.acl_setuser("root", enabled=True, passwords="+r", categories=["+@all"], keys=["*"])
    with redis.Redis(host, port, username="root", password="r", socket_timeout=AT_MOST) as root:
        untyped: Any = root
        untyped.execute_command("ACL", "SETUSER", "default", *rules)
        try:
            yield
        finally:
            untyped.execute_command("ACL", "SETUSER", "default", "+@all", "allchannels", "~*")


def test_what_is_possible_leaves_no_test_key(stack: LocalStack, pool: PlannedPool) -> None:
    for _ in range(3):
        plan = pool.plan_of_adding()
        assert not any("is not known" in warning for warning in plan["warnings"])
        check_clean(stack, pool)


@pytest.mark.parametrize("right", ["migrate", "unlink", "scan"])
def test_the_source_forbids_a_command(pool: PlannedPool, stack: LocalStack, right: str) -> None:
    at = stack.master_of("cache-1")
    with without(at, f"-{right}"):
        refused(pool.adding(dry_run=True), "cache-1", SPARE, at, "no permissions", right)
        refused(pool.adding(), right)


@pytest.mark.parametrize("right", ["restore", "exists"])
def test_the_target_forbids_a_command(pool: PlannedPool, right: str) -> None:
    with without(pool.spare, f"-{right}"):
        for dry_run in (True, False):
            refused(pool.adding(dry_run=dry_run), "cache-0", pool.spare, "no permissions", right)


def test_the_channel_of_a_pull_is_forbidden(pool: PlannedPool, stack: LocalStack) -> None:
    at = stack.master_of("cache-0")
    with without(at, "resetchannels"):
        refused(pool.adding(dry_run=True), at, "channel")
        body = {"weight": 3, "strategy": "move"}
        refused(pool.api("PATCH", f"{POOL}/shards/cache-1", body), at, "channel")


def test_a_dry_run_with_drop_asks_for_nothing_of_this(pool: PlannedPool, stack: LocalStack) -> None:
    with without(stack.master_of("cache-1"), "-migrate", "-memory"):
        assert pool.plan_of_adding(strategy="drop")["migration"] is None


def test_sizes_that_may_not_be_asked_for_are_not_known(
    pool: PlannedPool, stack: LocalStack
) -> None:
    pool.put({f"key:{n}": "v" for n in range(100)})
    with without(stack.master_of("cache-1"), "-memory"):
        plan = pool.plan_of_adding()
    assert plan["migration"]["keys"] is None
    (why,) = [each["error"] for each in plan["migration"]["sources"] if each["error"]]
    assert "memory" in why


def test_the_command_says_why(pool: PlannedPool, stack: LocalStack) -> None:
    words = ("shard", "add", SPARE, pool.spare, "--strategy", "move")
    with without(pool.spare, "-restore"):
        for more in (["--dry-run"], ["--yes"]):
            code, _, err = run_here(stack.info["env"], *words, *more)
            assert code == 4
            assert re.search(r"error: .*Keys cannot move from shard cache-0 to shard spare", err)
            assert "next: " in err and "--strategy drop" in err


def test_commands_that_are_renamed(stack: LocalStack) -> None:
    odd = [
        stack.start_redis(None, f"rename-command {name} {name}-OF-THE-OPERATOR")
        for name in ("MIGRATE", "RESTORE", "UNLINK")
    ]
    plain = str(stack.start_redis().address)
    for process, command, at_source in zip(
        odd, ("MIGRATE", "RESTORE", "UNLINK"), (True, False, True), strict=True
    ):
        there = str(process.address)
        masters = {"s": there, "t": plain} if at_source else {"s": plain, "t": there}
        why = impossible(masters, RedisAuth("default", SECRET))
        assert there in why
        assert re.search(f"(no|unknown) command '?{command}", why)
    with direct(plain) as client:
        assert client.keys() == []


def impossible(
    masters: dict[str, str], auth: RedisAuth, networks: AllowedNetworks = NETWORKS
) -> str:
    """Return why keys cannot move from "s" to "t"; no login may stand there."""
    config = Config(Path("none"), redis_auth=auth, instance_timeout=AT_MOST)
    with (
        MoveProbe(config, networks, masters) as probe,
        pytest.raises(MoveImpossibleError) as caught,
    ):
        probe.try_move("s", "t")
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_a_target_that_does_not_answer_the_source(stack: LocalStack, pool: PlannedPool) -> None:
    """The metaserver reaches it, and keys that a shard sends are lost on the way."""
    with SelectiveRelay(pool.spare, b"RESTORE") as relay:
        for dry_run in (True, False):
            reply = pool.adding(master=relay.address, dry_run=dry_run)
            refused(reply, "does not reach", "cache-0", relay.address)


def test_a_target_at_an_address_of_another_machine(tmp_path: Path) -> None:
    """The metaserver has the loopback of the target, and the source another one."""
    needs_namespaces()
    with split_network(tmp_path) as network:
        network.redis(MAJORITY, "target", "port 7001", "bind 127.0.0.1")
        network.redis(MINORITY, "source", "port 7002")
        masters = {"s": f"{MINORITY}:7002", "t": "127.0.0.1:7001"}
        networks = AllowedNetworks(["127.0.0.0/8", "10.0.0.0/8"])
        network.inside(MAJORITY, lambda: until(lambda: all(map(answers, masters.values()))))
        why = network.inside(MAJORITY, lambda: impossible(masters, RedisAuth(), networks))
    assert why == f"shard s ({MINORITY}:7002) does not reach shard t (127.0.0.1:7001)"


def answers(address: str) -> bool:
    with connect(address) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def test_shards_that_do_not_serve_just_now_are_not_refused(stack: LocalStack) -> None:
    plain = str(stack.start_redis().address)
    stopped = stack.start_redis()
    config = Config(Path("none"), instance_timeout=0.3)
    gone = "127.0.0.1:1"
    for masters in ({"s": plain, "t": gone}, {"s": gone, "t": plain}, {"s": plain}, {"t": plain}):
        with MoveProbe(config, NETWORKS, masters) as probe, pytest.raises(MoveNotTriedError):
            probe.try_move("s", "t")
    stopped.pause()
    try:
        masters = {"s": str(stopped.address), "t": plain}
        with MoveProbe(config, NETWORKS, masters) as probe:
            for _ in range(2):
                with pytest.raises(MoveNotTriedError, match="Timeout"):
                    probe.try_move("s", "t")
    finally:
        stopped.resume()
    with direct(plain) as client:
        client.replicaof("127.0.0.1", 1)
        with (
            MoveProbe(config, NETWORKS, {"s": plain, "t": plain}) as probe,
            pytest.raises(MoveNotTriedError, match="not the master"),
        ):
            probe.try_move("s", "t")


def test_a_full_source_or_target_is_not_refused(stack: LocalStack) -> None:
    first, second = (str(stack.start_redis().address) for _ in range(2))
    config = Config(Path("none"), instance_timeout=AT_MOST)
    for full in (first, second):
        with direct(full) as client:
            client.config_set("maxmemory", 1)
            with (
                MoveProbe(config, NETWORKS, {"s": first, "t": second}) as probe,
                pytest.raises(MoveNotTriedError, match=r"maxmemory|no room"),
            ):
                probe.try_move("s", "t")
            client.config_set("maxmemory", 0)
    for address in (first, second):
        with direct(address) as client:
            assert client.keys() == []


@pytest.fixture(scope="module")
def encrypted() -> Iterator[LocalStack]:
    needs_tls(str(find_redis_server().path))
    with moving_stack(metaservers=0, tls=True) as stack:
        yield stack


def test_tls_needs_tls_cluster(encrypted: LocalStack) -> None:
    first, second = (shard["master"] for shard in encrypted.info["shards"])
    certificates = encrypted.directory / "tls"
    auth = RedisAuth(
        "default",
        SECRET,
        RedisTls(
            str(certificates / "ca.pem"),
            str(certificates / "client.pem"),
            str(certificates / "client.key"),
        ),
    )
    config = Config(Path("none"), redis_auth=auth, instance_timeout=AT_MOST)
    with MoveProbe(config, NETWORKS, {"s": first, "t": second}) as probe:
        probe.try_move("s", "t")
    source = BoundedConnection(first, NETWORKS, auth, AT_MOST)
    source.call("CONFIG", "SET", "tls-cluster", "no")
    source.close()
    with SelectiveRelay(second, b"nothing that anybody says") as relay:
        why = impossible({"s": first, "t": relay.address}, auth)
        assert "does not reach" in why
        assert "tls-cluster yes (it is no)" in why
        assert SECRET.encode() not in relay.seen
