"""The command line of the migration benchmark: ``python -m benchmarks.migration --help``.

A fifth shard is added to four that hold so many keys, once with replicas, once without; and a fifth
node gets a fifth of the slots of a Redis Cluster of four, by ``redis-cli --cluster reshard`` with
its defaults. Rounds are interleaved; nothing else uses the servers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any

import redis

from benchmarks import cluster
from benchmarks.migration.pool import POOL, SHARDS, filled_pool, spare_of, until
from cachemesh.core.names import Address, parse_address
from cachemesh.core.placement.keys import SLOT_COUNT
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from cachemesh.local.probes import connect

_BATCH = 1000


def moved_in_pool(keys: int, replicas: int) -> float:
    """Return how many keys a second move to a fifth shard of a pool."""
    with filled_pool(keys, replicas) as stack:
        spare = spare_of(stack, replicas)
        api = MetaserverClient(stack.info["metaservers"], stack.token)
        began = time.monotonic()
        api.request("POST", f"{POOL}/shards", {"name": "spare", "master": spare})
        until(lambda: api.request("GET", f"{POOL}/status")["resize"] is None)
        took = time.monotonic() - began
        return float(connect(parse_address(spare)).dbsize() / took)


def moved_in_cluster(keys: int) -> float:
    """Return how many keys a second redis-cli moves to a fifth node of a Redis Cluster."""
    with (
        LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0, dashboard=False) as stack,
        ExitStack() as closing,
    ):
        nodes = [
            stack.start_redis(None, *cluster.configuration()).address for _ in range(SHARDS + 1)
        ]
        cluster.form(nodes[:SHARDS])
        _cli("--cluster", "add-node", _text(nodes[-1]), _text(nodes[0]))
        host, port = nodes[0]
        client = redis.RedisCluster(host=host, port=port)
        closing.callback(client.close)
        for first in range(0, keys, _BATCH):
            numbers = range(first, first + _BATCH)
            client.mset_nonatomic({f"key:{n}": f"value:{n}" for n in numbers})
        newcomer: Any = connect(nodes[-1])  # untyped in redis-py
        slots, name = str(SLOT_COUNT // (SHARDS + 1)), str(newcomer.execute_command("CLUSTER MYID"))
        until(lambda: all(_knows(node, name) for node in nodes))
        until(lambda: _is_sound(nodes[0]))
        began = time.monotonic()
        _cli(
            *("--cluster", "reshard", _text(nodes[0]), "--cluster-from", "all"),
            *("--cluster-to", name),
            *("--cluster-slots", slots, "--cluster-yes"),
        )
        return float(newcomer.dbsize() / (time.monotonic() - began))


def _knows(node: Address, name: str) -> bool:
    client: Any = connect(node)  # untyped in redis-py
    serves = client.execute_command("CLUSTER INFO")["cluster_state"] == "ok"
    return serves and name in str(client.execute_command("CLUSTER NODES"))


def _is_sound(node: Address) -> bool:
    """Return whether the nodes of a cluster agree."""
    check = ["redis-cli", "--cluster", "check", _text(node)]
    told = subprocess.run(check, check=False, capture_output=True, text=True)
    return told.returncode == 0 and "[ERR]" not in told.stdout


def _cli(*arguments: str) -> None:
    told = subprocess.run(["redis-cli", *arguments], check=False, capture_output=True, text=True)
    if told.returncode:
        raise SystemExit(f"redis-cli {' '.join(arguments)}: {told.stdout[-600:]}{told.stderr}")


def _text(address: Address) -> str:
    return f"{address.host}:{address.port}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, and write a line of JSON for each figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.migration", description=__doc__)
    parser.add_argument("--keys", type=int, default=100_000, help="in the pool [100,000]")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    peers: dict[str, Callable[[], float]] = {
        "redis-cli --cluster reshard": lambda: moved_in_cluster(given.keys),
        "cachemesh, with replicas": lambda: moved_in_pool(given.keys, 1),
        "cachemesh, without replicas": lambda: moved_in_pool(given.keys, 0),
    }
    figures: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(given.rounds):
        for name, moved in peers.items():
            figures[name].append(moved())
    base = median(figures["redis-cli --cluster reshard"])
    for name, found in figures.items():
        told = {"keys_per_second": round(median(found)), "ratio": round(median(found) / base, 2)}
        sys.stdout.write(
            json.dumps({"peer": name, **told, "all": [round(n) for n in found]}) + "\n"
        )


if __name__ == "__main__":
    main()
