"""Measures placements, without any server: ``python -m benchmarks.placement``.

For each hash function: the time for keys of 12, 24 and 64 bytes. For each strategy and number of
shards: the time to apply a new topology, to find a key's shard, and to compute what one more shard
moves. Each figure is the best of several runs, as other work of the machine only adds to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from cachemesh.core.placement import (
    Placement,
    Shard,
    SlotsPlacement,
    hash_functions,
    jedis,
    moves,
    twemproxy,
)
from cachemesh.core.placement.keys import key_slot
from cachemesh.core.placement.route_table import RouteTable

LENGTHS = (12, 24, 64)
SHARDS = (1, 4, 16, 100, 1_000)
STRATEGIES = (
    ("slots", "crc16"),
    ("ketama", "fnv1a_64"),
    ("ketama", "crc32a"),
    ("modula", "fnv1a_64"),
    ("jedis", "murmur64a"),
    ("jedis", "md5"),
)
KEYS = [b"session:%016x" % (i * 0x9E3779B97F4A7C15 % 2**64) for i in range(2_000)]


def best(work: Callable[[], object], runs: int) -> float:
    """Return the time of the fastest of some runs, in seconds."""
    taken = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)


def per_key(function: Callable[[bytes], object], keys: list[bytes]) -> float:
    """Return microseconds per call, with the loop round it."""

    def work() -> None:
        for key in keys:
            function(key)

    return best(work, 15) / len(keys) * 1e6


def hash_table() -> Table:
    table = Table("hash", *(f"{length} B, us" for length in LENGTHS), title="hash functions")
    functions: dict[str, Callable[[bytes], int]] = {"slots: crc16 of the hash tag": key_slot}
    functions |= {
        f"twemproxy {name}": kind.function for name, kind in hash_functions.TWEMPROXY.items()
    }
    functions |= {f"jedis {name}": kind.function for name, kind in hash_functions.JEDIS.items()}
    for name, function in functions.items():
        times = []
        for length in LENGTHS:
            keys = [(key * 3)[:length] for key in KEYS]
            times.append(f"{per_key(function, keys):.2f}")
        table.add_row(name, *times)
    return table


def document(strategy: str, hash_name: str, shards: int) -> dict[str, Any]:
    named = [Shard(f"cache-{i}") for i in range(shards)]
    if strategy == "slots":
        return SlotsPlacement.even(named).to_dict()
    entries = [{"name": shard.name} for shard in named]
    return {"strategy": strategy, "hash": hash_name, "hash_tag": "{}", "shards": entries}


def strategy_table() -> Table:
    columns = ("apply, ms", "again, ms", "find, us", "moves, ms")
    table = Table("strategy", "hash", "shards", *columns, title="keys of 24 bytes")
    for strategy, hash_name in STRATEGIES:
        for shards in SHARDS:
            made = document(strategy, hash_name, shards)
            targets = {f"cache-{i}": i for i in range(shards)}

            def again(made: Any = made, targets: Any = targets) -> RouteTable[int]:
                return RouteTable(Placement.from_dict(made), targets)

            def apply(again: Callable[[], object] = again) -> None:
                twemproxy.ring_of.cache_clear()
                jedis.ring_of.cache_clear()
                again()

            before = Placement.from_dict(made)
            after = before.with_shards([*before.shards, Shard("another")])

            def compare(before: Placement = before, after: Placement = after) -> None:
                moves(before, after)

            figures = (
                f"{best(apply, 5) * 1e3:.1f}",
                f"{best(again, 5) * 1e3:.1f}",
                f"{per_key(again().find, KEYS):.2f}",
                f"{best(compare, 3) * 1e3:.1f}",
            )
            table.add_row(strategy, hash_name, f"{shards:,}", *figures)
    return table


if __name__ == "__main__":
    console = Console()
    console.print(hash_table())
    console.print(strategy_table())
