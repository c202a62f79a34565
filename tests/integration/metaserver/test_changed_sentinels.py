"""Sentinels are added to a pool and removed while both clients write, and nobody restarts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import redis

from benchmarks.failover.site import as_map
from cachemesh.local import LocalStack
from tests.support.both_clients import CLIENTS, Caller
from tests.support.cli_in_process import run_here
from tests.support.metaserver_process import Api
from tests.support.plain_redis import direct
from tests.support.sentinels import keep_masters, master_seen, sentinel
from tests.support.stack_clients import key_on
from tests.support.waiting import AT_MOST, until

SHARDS = ("cache-0", "cache-1")
PATH = "/v1/pools/cache/sentinels"


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=1, dashboard=False) as started:
        keep_masters(started)
        yield started


@pytest.fixture(scope="module")
def admin(stack: LocalStack) -> Api:
    return Api(stack.info["metaservers"][0], stack.token)


class WritingClient:
    """A client that writes to one key of each shard, on a thread, until it is stopped.

    Attributes:
        errors: shard -> what its writes have failed with.
        written: shard -> how many writes were acknowledged.
    """

    def __init__(self, kind: str, url: str, token: str) -> None:
        self.caller = Caller(kind, url, token=token)
        self.errors: dict[str, list[str]] = {shard: [] for shard in SHARDS}
        self.written = dict.fromkeys(SHARDS, 0)
        self.caller(lambda mesh: mesh.set("loads", "x"))
        self._keys = {shard: key_on(self.caller.mesh, shard) for shard in SHARDS}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(each,), daemon=True) for each in SHARDS
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, shard: str) -> None:
        key = self._keys[shard]
        while not self._stop.wait(0.02):
            try:
                self.caller(lambda mesh: mesh.set(key, "x"))
                self.written[shard] += 1
            except (redis.RedisError, OSError) as error:
                self.errors[shard].append(f"{type(error).__name__}: {error}")

    def writes_again(self, shard: str) -> None:
        before = self.written[shard]
        until(lambda: self.written[shard] > before + 2)

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(AT_MOST)
        self.caller.close()


@pytest.fixture
def clients(stack: LocalStack) -> Iterator[list[WritingClient]]:
    with ExitStack() as ends:
        yield [
            ends.enter_context(closing(WritingClient(kind, stack.info["url"], stack.token)))
            for kind in CLIENTS
        ]


def knows(address: str, shard: str) -> tuple[int, int, int]:
    """Return the quorum of a shard at a Sentinel, and how many others and replicas it knows."""
    said = as_map(sentinel(address, "MASTER", shard))
    return int(said["quorum"]), int(said["num-other-sentinels"]), int(said["num-slaves"])


def subscribed_at(address: str) -> int:
    """Return how many connections have subscribed to both events of failovers at a Sentinel."""
    with direct(address) as client:
        listed: Any = client.execute_command("CLIENT", "LIST")
    return str(listed).count(" sub=2 ")


def sentinels_of(admin: Api) -> list[str]:
    """Return the Sentinels of the pool, once every one of them has taken the last change."""

    def settled() -> list[str] | None:
        document = admin("GET", "/v1/pools/cache").json
        return None if "sentinel_change" in document else list(document["sentinels"])

    addresses: list[str] = until(settled)
    return addresses


def check_agreed(addresses: list[str], quorum: int) -> None:
    """Assert that each Sentinel knows exactly the others, and the replica of each shard."""
    for address in addresses:
        for shard in SHARDS:
            assert knows(address, shard) == (quorum, len(addresses) - 1, 1), (address, shard)


def test_what_is_no_sentinel_of_the_pool_is_refused(stack: LocalStack, admin: Api) -> None:
    first = stack.info["sentinels"][0]
    no_sentinel = stack.master_of("cache-0")
    assert admin("POST", PATH, {"sentinel": first}).problem == "sentinel-exists"
    assert admin("POST", PATH, {"sentinel": no_sentinel}).problem == "sentinel-failed"
    assert admin("DELETE", f"{PATH}/127.0.0.1:1").problem == "sentinel-not-found"
    assert admin("DELETE", f"{PATH}/nonsense").status == 422
    stale = admin("DELETE", f"{PATH}/{first}?version=1000")
    assert stale.problem == "version-conflict"


def test_a_sentinel_with_a_shard_of_the_same_name_is_refused(stack: LocalStack, admin: Api) -> None:
    added = stack.start_sentinel()
    other = stack.master_of("cache-1")
    host, port = other.split(":")
    at = str(added.address)
    sentinel(at, "MONITOR", "cache-0", host, port, "1")
    refused = admin("POST", PATH, {"sentinel": at})
    assert refused.problem == "shard-exists"
    assert other in refused.json["detail"]
    assert [as_map(row)["name"] for row in sentinel(at, "MASTERS")] == ["cache-0"]
    added.kill()


def test_clients_follow_the_sentinels_that_the_pool_has_by_now(
    stack: LocalStack, admin: Api, clients: list[WritingClient]
) -> None:
    env = stack.info["env"]
    first, second, third = stack.info["sentinels"]
    fourth, fifth = (str(stack.start_sentinel().address) for _ in range(2))

    code, out, _ = run_here(env, "sentinel", "add", fourth, "--dry-run")
    assert code == 6
    assert f"plan: add Sentinel {fourth} to pool cache" in out
    assert "warning: of 4 Sentinels no more may be away (1) than of 3" in out
    assert sentinels_of(admin) == [first, second, third]
    code, out, err = run_here(env, "sentinel", "add", fourth)
    assert code == 0, err
    assert f"done: add Sentinel {fourth}" in out
    key = {"Idempotency-Key": "fifth"}
    done = admin("POST", PATH, {"sentinel": fifth}, headers=key)
    assert (done.status, done.json["document"]["sentinels"][-1]) == (201, fifth), done.text
    again = admin("POST", PATH, {"sentinel": fifth}, headers=key)
    assert (again.status, again.json) == (201, done.json)
    assert sentinels_of(admin) == [first, second, third, fourth, fifth]
    check_agreed([first, second, third, fourth, fifth], quorum=3)
    until(lambda: subscribed_at(fifth) > 0)

    assert subscribed_at(second) > 0
    stack.process(first).kill()
    code, _, err = run_here(env, "sentinel", "remove", first)
    assert code == 4
    assert "it cannot be told to forget the shards" in err
    code, _, err = run_here(env, "sentinel", "remove", first, "--force")
    assert code == 0, err
    assert "delete its configuration" in err
    left = [second, third, fourth, fifth]
    assert sentinels_of(admin) == left
    check_agreed(left, quorum=3)

    code, _, err = run_here(env, "sentinel", "remove", second)
    assert code == 0, err
    left = [third, fourth, fifth]
    assert sentinels_of(admin) == left
    check_agreed(left, quorum=2)
    assert sentinel(second, "MASTERS") == [], "it neither votes nor fails over any more"
    until(lambda: subscribed_at(second) == 0)
    assert all(not client.errors[shard] for client in clients for shard in SHARDS)

    for address in left:
        sentinel(address, "SET", "cache-0", "down-after-milliseconds", "1000")
    before = master_seen(third, "cache-0")
    stack.process(str(before)).kill()
    until(lambda: all(master_seen(each, "cache-0") != before for each in left))
    for client in clients:
        client.writes_again("cache-0")
        assert not client.errors["cache-1"], "0 errors beyond the failover's own"
    actions = [each["action"] for each in admin("GET", "/v1/events?action=sentinel").json["events"]]
    assert actions.count("sentinel.add") == actions.count("sentinel.remove") == 2
    assert actions.count("sentinel.settled") == 4
