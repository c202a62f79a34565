"""What apps feel of a move, and whether it ends while they write as fast as they can.

``python -m benchmarks.migration.under_load --help``. A fifth shard is added to four with a replica
each: without clients, beside client processes that pause between two calls, and beside as many that
do not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.migration.pool import POOL, filled_pool, spare_of
from cachemesh.core.names import parse_address
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from cachemesh.local.probes import connect

_BEFORE = 5.0  # seconds of load before the move begins
_BLOCKED_US = 5000  # microseconds; a server notes MIGRATE that takes longer


@dataclass
class Felt:
    """What all client processes have felt.

    Attributes:
        took: when each call began, in seconds since the epoch, and its seconds.
        errors: by class.
    """

    took: list[tuple[float, float]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def of(self, began: float, ended: float) -> dict[str, float]:
        """Return calls a second and quantiles in milliseconds of a span of time."""
        found = sorted(seconds for at, seconds in self.took if began <= at < ended)
        if not found:
            return {}

        def quantile(share: float) -> float:
            return round(1000 * found[min(len(found) - 1, int(share * len(found)))], 2)

        return {
            "calls_per_second": round(len(found) / (ended - began)),
            "p50_ms": quantile(0.5),
            "p99_ms": quantile(0.99),
            "p999_ms": quantile(0.999),
            "longest_ms": quantile(1.0),
        }


@contextmanager
def writing(stack: LocalStack, clients: int, keys: int, pause: float) -> Iterator[Felt]:
    """Have client processes read and write; afterwards tell what they felt."""
    url = f"cachemesh://{stack.info['metaservers'][0]}/cache"
    command = (sys.executable, "-m", "benchmarks.migration.writer", url)
    environment = {**os.environ, "CACHEMESH_TOKEN": stack.token}
    processes = [
        subprocess.Popen(
            [*command, ("sync", "asyncio")[number % 2], str(keys), str(pause)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number in range(clients)
    ]
    felt = Felt()
    try:
        yield felt
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        for process in processes:
            told = json.loads(process.communicate()[0])
            felt.took += zip(*(iter(told["took"]),) * 2, strict=True)
            felt.errors.update(told["errors"])


def moved(api: MetaserverClient, spare: str, bounds: Mapping[str, int]) -> tuple[float, float]:
    """Add the spare shard; return when that began and ended, in seconds since the epoch."""
    began = time.time()
    api.request("POST", f"{POOL}/shards", {"name": "spare", "master": spare, **bounds})
    while api.request("GET", f"{POOL}/status")["resize"] is not None:
        time.sleep(0.1)
    return began, time.time()


def blocked(stack: LocalStack) -> list[float]:
    """Return the milliseconds for which MIGRATE blocked a server, of those above the bound."""
    found = []
    for shard in stack.info["shards"]:
        with connect(parse_address(shard["master"])) as client:
            entries: Any = client.slowlog_get(1000)
            found += [
                round(entry["duration"] / 1000, 2)
                for entry in entries
                if entry["command"].startswith(b"MIGRATE")
            ]
    return sorted(found)


def measured(keys: int, clients: int, pause: float, bounds: Mapping[str, int]) -> Mapping[str, Any]:
    """Return what one move took, and what clients felt."""
    with filled_pool(keys, replicas=1) as stack:
        for shard in stack.info["shards"]:
            with connect(parse_address(shard["master"])) as client:
                client.config_set("slowlog-log-slower-than", _BLOCKED_US)
                client.config_set("slowlog-max-len", 1000)
        spare = spare_of(stack, replicas=1)
        api = MetaserverClient(stack.info["metaservers"], stack.token)
        with writing(stack, clients, keys, pause) as felt:
            if clients:
                time.sleep(2 * _BEFORE)  # the first calls connect
            began, ended = moved(api, spare, bounds)
        events = api.request("GET", "/v1/events", query={"pool": "cache", "limit": 50})["events"]
        holds = [event["detail"] for event in events if event["action"] == "resize.move"]
        attempts = sum(event["action"] == "resize.prepare" for event in events)
        return {
            "clients": clients,
            "pause_ms": 1000 * pause,
            "seconds": round(ended - began, 2),
            "keys_moved": connect(parse_address(spare)).dbsize(),
            "attempts": attempts,
            "hold": holds[0].rpartition(", ")[2] if holds else None,
            "migrate_above_5_ms": len(blocked(stack)),
            "longest_migrate_ms": max(blocked(stack), default=None),
            "before": felt.of(began - _BEFORE, began),
            "during": felt.of(began, ended),
            "errors": dict(felt.errors),
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, and write a line of JSON for each move."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.migration.under_load", description=__doc__
    )
    parser.add_argument("--keys", type=int, default=300_000, help="in the pool [300,000]")
    parser.add_argument("--clients", type=int, default=8, help="client processes [8]")
    parser.add_argument("--pause", type=float, default=10.0, help="between two calls, in ms [10]")
    parser.add_argument("--keys-per-second", type=int, default=0, help="as of the change [0]")
    parser.add_argument("--max-latency", type=int, default=0, help="as of the change, in ms [0]")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    bounds = {"keys_per_second": given.keys_per_second, "max_latency": given.max_latency}
    for _ in range(given.rounds):
        for clients, pause in ((0, 0.0), (given.clients, given.pause / 1000), (given.clients, 0.0)):
            sys.stdout.write(json.dumps(measured(given.keys, clients, pause, bounds)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
