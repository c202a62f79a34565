"""One source and one target, and the mover between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh.core.names import parse_address
from cachemesh.local import LocalStack
from metaserver.domain.move_pace import KeysPerSecond, Rests
from metaserver.domain.move_progress import SourceCount
from metaserver.loops.key_mover import SCANNED, SourceMove
from metaserver.loops.move_targets import Targets, TargetTurns
from metaserver.loops.stale_copies import StaleCopies
from metaserver.process.config import Config, RedisAuth
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.resp import LARGE
from metaserver.redis_io.term_fence import TermFence
from tests.support.plain_redis import connect
from tests.support.relay import LateRelay
from tests.support.waiting import AT_MOST, until

KEYS = 3000
NOBODY: Mapping[str, int] = {}


@pytest.fixture
def servers() -> Iterator[list[str]]:
    """The addresses of three servers that nobody watches."""
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0, dashboard=False) as stack:
        yield [str(stack.start_redis().address) for _ in range(3)]


@contextmanager
def moving(
    source: str, target: str, replicas: Mapping[str, int] = NOBODY
) -> Iterator[tuple[BoundedConnection, Targets]]:
    """Connect the mover to both."""
    config = Config(Path("none"), instance_timeout=AT_MOST)
    networks, term = AllowedNetworks(("127.0.0.0/8",)), TermFence(1, lambda: None)
    targets = Targets(config, networks, term, {"target": target}, replicas, TargetTurns())
    connection = BoundedConnection(source, networks, RedisAuth(), AT_MOST, LARGE, term.enter)
    with targets.opened() as own, closing(connection):
        yield connection, own


def leaving_all(keys: Sequence[bytes]) -> Iterator[tuple[bytes, str]]:
    """Tell that all keys leave."""
    return ((key, "target") for key in keys)


def move(
    source: str, target: str, meanwhile: Callable[[], object], late: Sequence[str] = ()
) -> SourceCount:
    """Move all keys; ``meanwhile`` is called before each request."""
    count = SourceCount("source")

    def cancelled() -> bool:
        meanwhile()
        return False

    with moving(source, target) as (connection, targets):
        SourceMove(
            connection,
            count,
            leaving_all,
            targets,
            cancelled,
            KeysPerSecond(0),
            Rests(0.0),
            late=late,
        ).run()
    return count


def fill(server: str, prefix: str) -> None:
    """Write the keys of one prefix."""
    with connect(server) as client:
        client.mset({f"{prefix}:{number}": "value" for number in range(KEYS)})


@pytest.mark.parametrize("all_moved", [False, True])
def test_stale_copies_are_removed_and_other_keys_stay(servers: list[str], all_moved: bool) -> None:
    source, target, _ = servers
    fill(source, "stale")
    fill(source, "yet to move")
    fill(target, "stale")
    with moving(source, target) as (connection, targets):
        mastership = StaleCopies.at(
            connection, "source", leaving_all, targets, lambda: False, all_moved=all_moved
        ).run()
    assert mastership == connect(source).info("replication")["master_replid"]
    assert connect(source).exists("stale:0") == 0
    assert connect(source).dbsize() == (0 if all_moved else KEYS)
    assert connect(target).dbsize() == KEYS


@pytest.mark.parametrize("all_moved", [False, True])
def test_a_target_whose_data_is_lost_is_not_asked_for_what_it_has(
    servers: list[str], all_moved: bool
) -> None:
    source, _, _ = servers
    fill(source, "key")
    with moving(source, "127.0.0.1:1") as (connection, targets):
        StaleCopies.at(
            connection,
            "source",
            leaving_all,
            targets,
            lambda: False,
            all_moved=all_moved,
            lost=["target"],
        ).run()
    assert connect(source).dbsize() == (0 if all_moved else KEYS)


def test_of_a_target_that_has_no_replica_any_more_none_is_waited_for(servers: list[str]) -> None:
    source, target, _ = servers
    fill(source, "stale")
    fill(target, "stale")
    with moving(source, target, {"target": 1}) as (connection, targets):
        StaleCopies.at(
            connection, "source", leaving_all, targets, lambda: False, all_moved=False
        ).run()
    assert connect(source).dbsize() == 0


def test_a_source_is_gone_through_once(servers: list[str]) -> None:
    source, target, _ = servers
    fill(source, "key")
    scans = 0

    def count_scans() -> None:
        nonlocal scans
        with connect(source) as client:
            scans = client.info("commandstats").get("cmdstat_scan", {}).get("calls", 0)

    assert move(source, target, count_scans).moved == KEYS
    assert scans <= KEYS / SCANNED + 1
    assert connect(source).dbsize() == 0
    assert connect(target).dbsize() == KEYS


def test_keys_that_a_source_gets_as_a_replica_meanwhile_are_moved_as_well(
    servers: list[str],
) -> None:
    source, target, other = servers
    fill(source, "key")
    fill(other, "late")
    flipped = False

    def flip() -> None:
        nonlocal flipped
        client: Any = connect(source)
        if flipped or not client.info("commandstats").get("cmdstat_scan"):
            return
        flipped = True
        host, port = other.rsplit(":", 1)
        client.replicaof(host, port)
        until(lambda: client.info("replication").get("master_link_status") == "up")
        client.replicaof("NO", "ONE")

    move(source, target, flip)
    assert flipped
    assert connect(source).dbsize() == 0
    assert connect(target).exists(*(f"late:{number}" for number in range(KEYS))) == KEYS


def test_what_arrives_late_brings_no_deleted_key_back(servers: list[str]) -> None:
    source, target, _ = servers
    connect(source).set("key", "old")
    with LateRelay(target, b"RESTORE") as relay:
        move(source, relay.address, lambda: None)
        assert relay.kept.is_set()
        assert connect(target).delete("key") == 1
        relay.let_arrive()
        assert connect(target).dbsize() == 0


@pytest.mark.parametrize("left", [False, True])
def test_what_an_earlier_move_left_behind_brings_none_back_either(
    servers: list[str], left: bool
) -> None:
    source, target, _ = servers
    connect(source).mset({"key": "old", "other": "value"})
    with LateRelay(target, b"RESTORE") as relay:
        host, port = parse_address(relay.address)
        with pytest.raises(redis.ResponseError, match="IOERR"):
            connect(source).migrate(host, port, ["key"], 0, 100, copy=True)
        assert relay.kept.is_set()
        connect(source).delete("key")  # an app has pulled it, and has deleted it since
        if not left:
            connect(source).delete("other")
        move(source, relay.address, lambda: None, late=["target"])
        relay.let_arrive()
        assert connect(target).exists("key") == 0
        assert connect(target).dbsize() == left
