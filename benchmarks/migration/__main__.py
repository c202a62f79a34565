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
from cachemesh import CacheMesh
from cachemesh.core.names import Address
from cachemesh.core.placement.keys import SLOT_COUNT
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from cachemesh.local.probes import connect

SHARDS = 4
_BATCH = 1000
_LOOK_EVERY = 0.1  # seconds; looks take time of the metaserver, which moves the keys
_SETTLED_WITHIN = 600.0
_POOL = "/v1/pools/cache"


def moved_in_pool(keys: int, replicas: int) -> float:
    """Return how many keys a second move to a fifth shard of a pool."""
    with LocalStack(
        shards=SHARDS, replicas=replicas, sentinels=1, metaservers=1, dashboard=False
    ) as stack:
        url = f"cachemesh://{stack.info['metaservers'][0]}/cache"
        with CacheMesh.from_url(url, token=stack.token) as client:
            for first in range(0, keys, _BATCH):
                numbers = range(first, first + _BATCH)
                client.mset({f"key:{n}": f"value:{n}" for n in numbers})
        spare = stack.start_redis()
        for _ in range(replicas):
            _replicate(stack.start_redis().address, spare.address)
        api = MetaserverClient(stack.info["metaservers"], stack.token)
        began = time.monotonic()
        body = {"name": "spare", "master": str(spare.address), "strategy": "move"}
        api.request("POST", f"{_POOL}/shards", body)
        _until(lambda: api.request("GET", f"{_POOL}/status")["resize"] is None)
        took = time.monotonic() - began
        return float(connect(spare.address).dbsize() / took)


def moved_in_cluster(keys: int) -> float:
    """Return how many keys a second redis-cli moves to a fifth node of a Redis Cluster."""
    with (
        LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0, dashboard=False) as stack,
        ExitStack() as until,
    ):
        nodes = [
            stack.start_redis(None, *cluster.configuration()).address for _ in range(SHARDS + 1)
        ]
        cluster.form(nodes[:SHARDS])
        _cli("--cluster", "add-node", _text(nodes[-1]), _text(nodes[0]))
        host, port = nodes[0]
        client = redis.RedisCluster(host=host, port=port)
        until.callback(client.close)
        for first in range(0, keys, _BATCH):
            numbers = range(first, first + _BATCH)
            client.mset_nonatomic({f"key:{n}": f"value:{n}" for n in numbers})
        newcomer: Any = connect(nodes[-1])  # untyped in redis-py
        slots, name = str(SLOT_COUNT // (SHARDS + 1)), str(newcomer.execute_command("CLUSTER MYID"))
        _until(lambda: all(_knows(node, name) for node in nodes))
        _until(lambda: _is_sound(nodes[0]))
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


def _replicate(replica: Address, master: Address) -> None:
    client = connect(replica)
    client.replicaof(*master)
    _until(lambda: client.info("replication")["master_link_status"] == "up")


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SETTLED_WITHIN
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"no end within {_SETTLED_WITHIN:g} s")
        time.sleep(_LOOK_EVERY)


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
