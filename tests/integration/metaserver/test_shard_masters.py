"""Masters that are asked at their known addresses, then where the Sentinels name others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cachemesh.local import LocalStack
from metaserver.process.config import Config, RedisAuth
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.sentinel_group import SentinelGroup
from metaserver.redis_io.shard_masters import MasterAnswers, ShardMasters
from tests.support import metaserver_loops
from tests.support.metaserver_loops import NETWORKS
from tests.support.sentinels import keep_masters
from tests.support.waiting import AT_MOST

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


def asked(stack: LocalStack, known: dict[str, str]) -> MasterAnswers[str]:
    """Ask the master of shard x where it listens."""

    def ask(_: str, connection: BoundedConnection) -> str:
        connection.call("PING")
        return connection.address

    config = Config(Path("none"), instance_timeout=AT_MOST, sentinel_timeout=AT_MOST)
    masters = ShardMasters(config, NETWORKS, stack.info["sentinels"], known)
    return masters.ask(["x"], ask, within=AT_MOST)


@pytest.mark.parametrize("known", [{}, {"x": "127.0.0.1:1"}])
def test_a_master_that_does_not_answer_is_asked_where_all_sentinels_name_it(
    stack: LocalStack, sentinels: SentinelGroup, known: dict[str, str]
) -> None:
    master = str(stack.start_redis().address)
    sentinels.register("x", master, 2, NOBODY)
    assert asked(stack, known).given == {"x": master}


@pytest.mark.parametrize("known", [{}, {"x": "127.0.0.1:1"}])
def test_while_sentinels_name_different_masters_none_of_them_is_asked(
    stack: LocalStack, sentinels: SentinelGroup, known: dict[str, str]
) -> None:
    former, master = (str(stack.start_redis().address) for _ in range(2))
    first, *others = stack.info["sentinels"]
    sentinels.register("x", master, 2, NOBODY, only=[first])
    sentinels.register("x", former, 2, NOBODY, only=others)
    found = asked(stack, known)
    assert (found.given, list(found.failed)) == ({}, ["x"])
    assert found.masters == known
