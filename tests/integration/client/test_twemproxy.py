"""Keys written through a real twemproxy lie where our placements say."""

from __future__ import annotations

import random
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh.core.placement import Placement, hash_functions
from cachemesh.local import LocalStack
from cachemesh.local.ports import Ports
from tests.support.needs import needs
from tests.support.process_cleanup import ending
from tests.support.waiting import AT_MOST, until

INSTANCES = 4
KEYS = 1_000
NAMES = ("cache-10", "b", "cache-2", "a-much-longer-name", "zz", "cache-1", "aa", "B")


def shards_of(count: int, weights: tuple[int, ...], labels: bool = False) -> list[dict[str, Any]]:
    names = NAMES if count <= len(NAMES) else [f"cache-{i}" for i in range(count)]
    return [
        {
            "name": name,
            "weight": weights[i % len(weights)],
            **({"label": f"10.0.0.{i}:6379"} if labels else {}),
        }
        for i, name in zip(range(count), names, strict=False)
    ]


def pools() -> dict[str, dict[str, Any]]:
    """Return pools of every hash and distribution; then of tags, labels, odd numbers of servers."""
    found = {
        f"{strategy}-{name}": {
            "strategy": strategy,
            "hash": name,
            "hash_tag": None,
            "shards": shards_of(8, (1,) if strategy == "modula" else (1, 2, 7, 50)),
        }
        for strategy in ("ketama", "modula")
        for name in hash_functions.TWEMPROXY
    }
    base = {"hash": "fnv1a_64", "hash_tag": None}
    for strategy in ("ketama", "modula"):
        for name, tag in (("braces", "{}"), ("angles", "<>"), ("same", "$$")):
            shards = shards_of(5, (3, 1))
            found[f"{strategy}-{name}"] = {
                **base,
                "strategy": strategy,
                "hash_tag": tag,
                "shards": shards,
            }
        shards = shards_of(8, (1, 2, 3), labels=True)
        found[f"{strategy}-labels"] = {**base, "strategy": strategy, "shards": shards}
    for count in (1, 24, 25, 61):
        found[f"ketama-{count}"] = {**base, "strategy": "ketama", "shards": shards_of(count, (1,))}
    return found


POOLS = pools()


@dataclass
class Proxy:
    """A running twemproxy: the port of each pool, and the instances behind all of them."""

    ports: dict[str, int]
    instances: list[redis.Redis]

    def write(self, pool: str, keys: list[bytes]) -> None:
        ok = b"+OK\r\n"
        with socket.create_connection(
            ("127.0.0.1", self.ports[pool]), timeout=AT_MOST
        ) as connection:
            for start in range(0, len(keys), 100):
                some = keys[start : start + 100]
                connection.sendall(
                    b"".join(
                        b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$1\r\n1\r\n" % (len(key), key)
                        for key in some
                    )
                )
                reply = b""
                while len(reply) < len(ok) * len(some):
                    received = connection.recv(65_536)
                    assert received, f"twemproxy closed the connection after {reply!r}"
                    reply += received
                assert reply == ok * len(some)


def configuration(ports: dict[str, int], addresses: list[str]) -> str:
    """Return twemproxy's configuration; position i of a pool is served by instance i modulo 4."""
    lines = []
    for pool, document in POOLS.items():
        lines += [
            f"{pool}:",
            f"  listen: 127.0.0.1:{ports[pool]}",
            f"  hash: {document['hash']}",
            f"  distribution: {document['strategy']}",
            *([f'  hash_tag: "{document["hash_tag"]}"'] if document["hash_tag"] else []),
            "  redis: true",
            "  auto_eject_hosts: false",
            "  servers:",
        ]
        lines += [
            f"   - {addresses[i % INSTANCES]}:{shard['weight']} {shard.get('label', shard['name'])}"
            for i, shard in enumerate(document["shards"])
        ]
    return "\n".join(lines) + "\n"


@contextmanager
def running(program: str, config: Path, addresses: list[str]) -> Iterator[dict[str, int]]:
    """Run twemproxy in front of the instances, and yield the port of each pool."""
    log = config.with_suffix(".log")
    for last_try in (False, False, False, True):
        free = Ports()
        ports = {pool: free.take() for pool in POOLS}
        config.write_text(configuration(ports, addresses), encoding="ascii")
        command = [program, "-c", str(config), "-a", "127.0.0.1", "-s", str(free.take())]
        with (
            log.open("wb") as out,
            ending(subprocess.Popen(command, stdout=out, stderr=out)) as process,
        ):
            until(partial(ended_or_listens, process, ports))
            if process.poll() is None:
                yield ports
                return
        # Another process has taken one of its many ports meanwhile, of which it says nothing.
        assert not last_try, log.read_text()


def ended_or_listens(process: subprocess.Popen[bytes], ports: dict[str, int]) -> bool:
    return process.poll() is not None or all(map(listens, ports.values()))


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    program = needs("nutcracker")
    config = tmp_path_factory.mktemp("twemproxy") / "nutcracker.yml"
    stack = LocalStack(
        shards=INSTANCES, replicas=0, sentinels=1, metaservers=0, dashboard=False, pool="cache"
    )
    with stack:
        addresses = [shard["master"] for shard in stack.info["shards"]]
        with running(program, config, addresses) as ports:
            instances = [redis.Redis.from_url(f"redis://{address}") for address in addresses]
            yield Proxy(ports, instances)
            for instance in instances:
                instance.close()


def keys_of(seed: str) -> list[bytes]:
    """Return keys of any bytes and length, some with tags, and the empty key."""
    source = random.Random(seed)
    found = {b""} | {b"user:%d" % source.randrange(10**6) for _ in range(KEYS // 4)}
    while len(found) < KEYS // 2:
        found.add(source.randbytes(source.randint(1, 60)))
    while len(found) < KEYS:
        found.add(bytes(source.choices(b"{}{}<><>$$ab\xff\n", k=source.randint(3, 9))))
    return sorted(found)


@pytest.mark.parametrize("pool", POOLS)
def test_every_key_lies_where_the_placement_says(proxy: Proxy, pool: str) -> None:
    placement = Placement.from_dict(POOLS[pool])
    instance_of = {name: i % INSTANCES for i, name in enumerate(placement.names)}
    keys = keys_of(pool)
    for instance in proxy.instances:
        instance.flushall()
    proxy.write(pool, keys)
    for number, instance in enumerate(proxy.instances):
        expected = {key for key in keys if instance_of[placement.owner(key)] == number}
        assert set(instance.keys("*")) == expected
