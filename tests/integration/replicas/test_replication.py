"""Measuring real replicas: what is said to be covered is there, and who stands still is noticed."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import pytest
import redis

from cachemesh.core.names import Address
from cachemesh.core.reads.load_weights import LoadWindow
from cachemesh.core.reads.read_preference import Reading, order
from cachemesh.core.reads.recent_writes import RecentWrites
from cachemesh.core.reads.replication_lag import NEVER, LagMeter
from cachemesh.core.resilience.circuit_breaker import Breaker
from cachemesh.local import LocalStack
from cachemesh.local.process import Process
from cachemesh.transport.replication_probe import Prober
from tests.support.waiting import AT_MOST, until

INTERVAL = 0.05


@dataclass(eq=False)
class Instance:
    address: Address
    breaker: Breaker = field(default_factory=Breaker)
    window: LoadWindow = field(default_factory=LoadWindow)


class Shard:
    """One shard as a client has it."""

    name = "cache"

    def __init__(self, master: Address, replicas: list[Address]) -> None:
        self.meter = LagMeter()
        self.meter.follow(master)
        self.master = Instance(master)
        self.replicas = [Instance(address) for address in replicas]

    def instances(self) -> tuple[Instance, list[Instance]]:
        return self.master, self.replicas

    def lag(self, replica: Instance) -> float:
        return time.monotonic() - self.meter.covered(replica.address)


class Client:
    """Who owns a prober, and shards."""

    def __init__(self, *shards: Shard, **options: Any) -> None:
        def connect(address: Address) -> Any:
            limits = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}
            connection: Any = redis.Connection(
                host=address.host, port=address.port, **limits, **options
            )  # type: ignore[no-untyped-call]
            connection.connect()
            return connection

        self.known = list(shards)
        self.prober = Prober(self.shards, connect)

    def shards(self) -> list[Shard]:
        return self.known


def threads() -> list[str]:
    names = ("cachemesh-replication", "cachemesh-reconnect")
    return [thread.name for thread in threading.enumerate() if thread.name in names]


@dataclass(frozen=True)
class Servers:
    master: Process
    replicas: tuple[Process, Process]

    def client_of(self, process: Process) -> Any:
        return redis.Redis(host=process.address.host, port=process.address.port)

    def shard(self) -> Shard:
        return Shard(self.master.address, [process.address for process in self.replicas])


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0) as stack:
        master = stack.start_redis(None, "repl-diskless-sync-delay 0")
        follow = f"replicaof {master.address.host} {master.address.port}"
        one, two = (stack.start_redis(None, follow) for _ in range(2))
        yield Servers(master, (one, two))


@pytest.fixture
def shard(servers: Servers) -> Shard:
    for process in servers.replicas:
        with servers.client_of(process) as direct:
            until(lambda: direct.info("replication")["master_link_status"] == "up")
    return servers.shard()


@pytest.fixture
def client(shard: Shard) -> Iterator[Client]:
    made = Client(shard)
    made.prober.measure_every(INTERVAL)
    assert made.prober.wait(AT_MOST)
    yield made
    made.prober.stop()
    until(lambda: not threads())


def catch_up(shard: Shard) -> float:
    """Wait until all replicas are known to have what was written until now; seconds it took."""
    since = time.monotonic()
    until(lambda: all(shard.meter.covered(replica.address) > since for replica in shard.replicas))
    return time.monotonic() - since


def test_an_idle_replica_is_never_far_behind(client: Client, shard: Shard) -> None:
    for _ in range(10):
        catch_up(shard)


def test_what_is_covered_is_there(client: Client, shard: Shard, servers: Servers) -> None:
    """Every write is read from a replica as soon as it is said to have it."""
    direct = servers.client_of(servers.master)
    replicas = [servers.client_of(process) for process in servers.replicas]

    def covers(instance: Any, written: float) -> bool:
        return shard.meter.covered(instance.address) > written

    for number in range(30):
        direct.set("k", number)
        direct.set("filler", b"x" * 100_000)
        written = time.monotonic()
        for instance, replica in zip(shard.replicas, replicas, strict=True):
            until(partial(covers, instance, written))
            assert int(replica.get("k")) == number
    for connection in (direct, *replicas):
        connection.close()


def test_own_writes_are_seen_while_others_write(
    client: Client, shard: Shard, servers: Servers
) -> None:
    """With the whole choice in the way: a key just written is read from who has it."""
    pins, reading = RecentWrites(64), Reading("prefer_replica", max_lag=5.0)
    direct = {
        process.address: servers.client_of(process)
        for process in (servers.master, *servers.replicas)
    }
    asked: set[Address] = set()
    ended = threading.Event()

    def busy() -> None:
        with servers.client_of(servers.master) as other:
            while not ended.is_set():
                other.set("other", b"x" * 1000)

    writer = threading.Thread(target=busy)
    writer.start()
    try:
        for number in range(300):
            key = b"own-%d" % (number % 10)
            direct[shard.master.address].set(key, number)
            pins.wrote(key, time.monotonic())
            for _ in range(3):
                now = time.monotonic()
                written, chance = pins.written_at(key), now * 1000 % 1
                covered = shard.meter.covered
                best = order(reading, *shard.instances(), covered, written, now, chance)[0]
                asked.add(best.address)
                assert int(direct[best.address].get(key)) == number
                time.sleep(0.001)
            if number % 30 == 0:
                since = time.monotonic()
                catch_up(shard)
                pinned = pins.written_at(key)
                best = order(reading, *shard.instances(), covered, pinned, since, 0.0)[0]
                asked.add(best.address)
                assert int(direct[best.address].get(key)) == number
    finally:
        ended.set()
        writer.join()
        for connection in direct.values():
            connection.close()
    assert asked > {shard.master.address}


def test_a_replica_that_stands_still_falls_behind_alone(
    client: Client, shard: Shard, servers: Servers
) -> None:
    still, other = shard.replicas
    until(lambda: all(shard.lag(replica) < 1 for replica in shard.replicas))
    servers.replicas[0].pause()
    try:
        paused = time.monotonic()
        until(lambda: shard.lag(still) > 2 and bool(still.window.failures))
        assert shard.meter.covered(still.address) < paused + 0.5
        sound = (other, shard.master)
        until(lambda: shard.lag(other) < 1 and not any(one.window.failures for one in sound))
        assert still.window.failures
    finally:
        servers.replicas[0].resume()
    until(lambda: shard.lag(still) < 1)
    until(lambda: not still.window.failures)
    assert still.window.weight(time.monotonic(), None) < 1.0


def test_a_replica_that_applies_nothing_falls_behind(
    client: Client, shard: Shard, servers: Servers
) -> None:
    """It answers as ever, but its master's writes wait."""
    still = shard.replicas[0]
    with (
        servers.client_of(servers.master) as direct,
        servers.client_of(servers.replicas[0]) as replica,
    ):
        direct.set("k", "old")
        since = time.monotonic()
        until(lambda: shard.meter.covered(still.address) > since)
        replica.execute_command("REPLICAOF", "127.0.0.1", 1)  # nobody is there
        direct.set("k", "new")
        written = time.monotonic()
        until(lambda: shard.lag(still) > 1)
        assert shard.meter.covered(still.address) < written
        assert not still.window.failures
        address = servers.master.address
        replica.execute_command("REPLICAOF", address.host, address.port)
        until(lambda: shard.meter.covered(still.address) > written)
        assert replica.get("k") == b"new"


def test_a_replica_that_became_a_master_covers_nothing(
    client: Client, shard: Shard, servers: Servers
) -> None:
    lost = shard.replicas[0]
    until(lambda: shard.lag(lost) < 1)
    with servers.client_of(servers.replicas[0]) as replica:
        replica.execute_command("REPLICAOF", "NO", "ONE")
        until(lambda: shard.meter.covered(lost.address) == NEVER)
        replica.set("stray", 1)
        address = servers.master.address
        replica.execute_command("REPLICAOF", address.host, address.port)
        until(lambda: shard.lag(lost) < 1)
        assert replica.get("stray") is None


def test_who_cannot_serve_is_not_brought_back(
    client: Client, shard: Shard, servers: Servers
) -> None:
    """It answers, but only that it has no master: as when it loads its data."""
    lost = shard.replicas[0]
    address = servers.master.address
    with servers.client_of(servers.replicas[0]) as replica:
        replica.config_set("replica-serve-stale-data", "no")
        replica.execute_command("REPLICAOF", "127.0.0.1", 1)
        lost.window.failed(time.monotonic())
        time.sleep(10 * INTERVAL)
        assert lost.window.failures
        replica.execute_command("REPLICAOF", address.host, address.port)
        until(lambda: not lost.window.failures)
        replica.config_set("replica-serve-stale-data", "yes")


def test_a_killed_replica_is_found_again(client: Client, shard: Shard, servers: Servers) -> None:
    lost = shard.replicas[0]
    until(lambda: shard.lag(lost) < 1)
    servers.replicas[0].kill()
    until(lambda: bool(lost.window.failures) and shard.meter.covered(lost.address) == NEVER)
    servers.replicas[0].restart()
    until(lambda: not lost.window.failures)
    until(lambda: shard.lag(lost) < 1)
    until(lambda: shard.lag(shard.replicas[1]) < 1)


@pytest.mark.parametrize(
    ("denied", "measures"), [("-info", True), ("-info -role", False), ("-info -ping", True)]
)
def test_rights_that_are_missing(
    shard: Shard, servers: Servers, denied: str, measures: bool
) -> None:
    words = ["on", "nopass", "~*", "+@all", *denied.split(" ")]
    processes = (servers.master, *servers.replicas)
    for process in processes:
        with servers.client_of(process) as direct:
            direct.execute_command("ACL", "SETUSER", "app", "reset", *words)
    client = Client(shard, username="app", password="any")
    client.prober.measure_every(INTERVAL)
    assert client.prober.wait(AT_MOST)
    lost = shard.replicas[0]
    if measures:
        until(lambda: all(shard.lag(replica) < 1 for replica in shard.replicas))
    lost.window.failed(time.monotonic())
    until(lambda: not lost.window.failures)
    assert measures or shard.meter.covered(lost.address) == NEVER
    client.prober.stop()
    until(lambda: not threads())


def test_a_shard_that_does_not_answer_keeps_no_other_waiting(
    client: Client, shard: Shard, servers: Servers
) -> None:
    nobody = Shard(Address("192.0.2.1", 6379), [Address("127.0.0.1", 1)])
    nobody.name = "nobody"
    client.known.append(nobody)
    until(lambda: bool(nobody.replicas[0].window.failures and nobody.master.window.failures))
    # An attempt to connect to nobody takes a second.
    assert median(catch_up(shard) for _ in range(9)) < 0.5
    client.known.remove(nobody)


def test_it_ends_with_its_client(shard: Shard, servers: Servers) -> None:
    def connections() -> int:
        with servers.client_of(servers.master) as direct:
            return len(direct.client_list())

    before = connections()
    owner: Any = Client(shard)
    prober = owner.prober
    prober.measure_every(INTERVAL)
    prober.measure_every(60.0)
    assert prober.wait(AT_MOST)
    assert threads() == ["cachemesh-replication"]
    del owner
    gc.collect()
    until(lambda: not threads())
    until(lambda: connections() == before)


def test_stopped_and_begun_again(client: Client, shard: Shard) -> None:
    client.prober.stop()
    client.prober.stop()
    until(lambda: not threads())
    assert not client.prober.wait(0)
    since = time.monotonic()
    client.prober.measure_every(INTERVAL)
    until(lambda: shard.meter.covered(shard.replicas[0].address) > since)


def test_another_master_is_measured_once_it_is_told(
    client: Client, shard: Shard, servers: Servers
) -> None:
    """Until then nothing is covered; what the former one says does not count."""
    first, second = shard.master, shard.replicas[0]
    until(lambda: shard.lag(second) < 1)
    with (
        servers.client_of(servers.replicas[0]) as heir,
        servers.client_of(servers.master) as former,
        servers.client_of(servers.replicas[1]) as third,
    ):
        try:
            heir.execute_command("REPLICAOF", "NO", "ONE")
            shard.meter.follow(second.address)
            assert shard.meter.covered(shard.replicas[1].address) == NEVER
            shard.master, shard.replicas = second, [shard.replicas[1]]
            time.sleep(4 * INTERVAL)
            assert shard.meter.covered(shard.replicas[0].address) == NEVER  # follows the former
            third.execute_command("REPLICAOF", second.address.host, second.address.port)
            until(lambda: shard.lag(shard.replicas[0]) < 1)
        finally:
            for other in (heir, third):
                other.execute_command("REPLICAOF", first.address.host, first.address.port)
        assert former.ping()


def test_a_forked_child_measures_by_itself(client: Client, shard: Shard) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            client.prober.forget()
            since = time.monotonic()
            client.prober.measure_every(INTERVAL)
            until(lambda: shard.meter.covered(shard.replicas[0].address) > since)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    since = time.monotonic()
    until(lambda: shard.meter.covered(shard.replicas[0].address) > since)
