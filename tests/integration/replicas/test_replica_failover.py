"""Clients that read from replicas while masters fail over, and while replicas come and go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh.core.names import Address, parse_address
from cachemesh.local import LocalStack, Process
from tests.support.both_clients import CLIENTS, Caller, calling
from tests.support.own_writes import WRITES, OwnWriteCheck
from tests.support.plain_redis import calls_of, direct, reset_counts_of
from tests.support.replicated_stack import MODES, Replicated, await_lag_known
from tests.support.sentinels import keep_masters
from tests.support.waiting import until

both = pytest.mark.parametrize("kind", CLIENTS)


@pytest.fixture(scope="module")
def site() -> Iterator[Replicated]:
    with LocalStack(shards=2, replicas=2, sentinels=1, metaservers=0) as stack:
        keep_masters(stack)
        site = Replicated(stack)
        with sentinel(site) as client:  # it looks for replicas every 10 s else
            client.execute_command("SENTINEL", "DEBUG", "info-period", 200, "publish-period", 200)
        yield site


def sentinel(site: Replicated) -> Any:
    host, port = parse_address(site.stack.info["sentinels"][0])
    return redis.Redis(host=host, port=port)


def addresses(call: Caller, shard: str) -> tuple[Address, set[Address]]:
    found = call.mesh._core.shards()[shard]
    return found.instance.address, {replica.address for replica in found.replicas}


@pytest.mark.parametrize(("shard", "how"), [("cache-0", "killed"), ("cache-1", "asked for")])
def test_own_writes_are_seen_across_a_failover(
    site: Replicated, tmp_path: Path, shard: str, how: str
) -> None:
    """Both clients, in all modes. What replication had not passed on is lost, never just hidden."""
    url = site.document(tmp_path, poll_interval=0.5)
    former = site.shards[shard][0]
    with calling("sync", url) as one, calling("asyncio", url) as other:
        running = [
            OwnWriteCheck(
                call, call.mesh.with_options(read_from=mode), tolerated=(redis.RedisError,)
            )
            for call in (one, other)
            for mode in MODES
        ]
        for number, own in enumerate(running):
            own.start(f"{how}-{number}-", [*WRITES], threads=1)
        try:
            until(lambda: all(len(own.done) > 3 for own in running))
            if how == "killed":
                keep_masters(site.stack, milliseconds=1000)
                former.kill()
            else:
                with sentinel(site) as client:
                    client.execute_command("SENTINEL", "FAILOVER", shard)
            until(lambda: addresses(one, shard)[0] != former.address)
            until(lambda: addresses(other, shard)[0] != former.address)
            if how == "killed":
                keep_masters(site.stack)
                former.restart()
            # The one that was promoted is the master; the former one is a replica, in the end.
            for call in (one, other):
                until(partial(is_replica, former, call, shard))
                master, replicas = addresses(call, shard)
                assert master not in replicas
                assert len(replicas) == 2
            reset_counts_of(former)
            until(lambda: calls_of(former, "get"))
        finally:
            for own in running:
                own.stop()
    for own in running:
        assert not own.stale, own.stale
        if how == "killed":
            assert len(own.lost) < 10, own.lost
        assert sum(own.done.values()) > 100


def is_replica(process: Process, call: Caller, shard: str) -> bool:
    """To this client."""
    return process.address in addresses(call, shard)[1]


@both
def test_replicas_come_and_go(site: Replicated, kind: str, tmp_path: Path) -> None:
    """One that is new is read from once it is in step, one that is gone no more."""
    key = site.keys("cache-0")[0]
    url = site.document(tmp_path, poll_interval=0.3)
    with calling(kind, url, read_from="replica") as call:
        call(lambda mesh: mesh.set(key, "v"))
        await_lag_known(call)
        master, before = addresses(call, "cache-0")
        late = site.stack.start_redis(
            None, f"replicaof {master.host} {master.port}", "replica-announce-ip 127.0.0.1"
        )
        forget_replicas(site)
        until(lambda: late.address in addresses(call, "cache-0")[1])

        def read() -> bool:
            assert call(lambda mesh: mesh.get(key)) == b"v"
            return calls_of(late, "get") > 3

        until(read)
        late.kill()
        forget_replicas(site)
        until(lambda: addresses(call, "cache-0")[1] == before)
        for _ in range(50):
            assert call(lambda mesh: mesh.get(key)) == b"v"


def forget_replicas(site: Replicated) -> None:
    """Sentinel asks the master for its replicas anew, at once."""
    with sentinel(site) as client:
        client.execute_command("SENTINEL", "RESET", "cache-0")
        until(lambda: len(client.execute_command("SENTINEL", "REPLICAS", "cache-0")) >= 2)


def test_a_replica_promoted_by_hand_is_not_read_for_own_writes(site: Replicated) -> None:
    """Nobody has told Sentinel: what its former fellows have of the old master is known still."""
    key = site.keys("cache-1")[0]
    with calling("sync", site.url, read_from="prefer_replica") as call:
        call(lambda mesh: mesh.set(key, 0))
        await_lag_known(call)
        _, replicas = addresses(call, "cache-1")
        stray = site.stack.process(str(min(replicas)))
        with direct(stray) as client:
            client.replicaof("NO", "ONE")
        for number in range(200):
            call(methodcaller("set", key, number))
            assert int(call(lambda mesh: mesh.get(key))) == number
            time.sleep(0.005)
