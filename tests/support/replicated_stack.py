"""A stack whose replicas are read from: who was asked, and whether own writes are seen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.local import LocalStack, Process
from tests.support.both_clients import Caller
from tests.support.plain_redis import direct, reset_counts_of, target
from tests.support.waiting import until

MODES = ("replica", "prefer_replica", "weighted")
NO_FAILOVER = 600_000  # milliseconds


@contextmanager
def replicated() -> Iterator[Replicated]:
    """Two shards of three, where what hangs stays what it is."""
    with LocalStack(
        shards=2, replicas=2, sentinels=1, metaservers=0, down_after_ms=NO_FAILOVER
    ) as stack:
        yield Replicated(stack)


class Replicated:
    """Shards with replicas, and who is master of what when the stack starts."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self.url: str = stack.info["url"]
        self.shards: dict[str, tuple[Process, list[Process]]] = {
            shard["name"]: (
                stack.process(shard["master"]),
                [stack.process(address) for address in shard["replicas"]],
            )
            for shard in stack.info["shards"]
        }
        self.placement = SlotsPlacement.even([Shard(name) for name in self.shards])
        self.settle()

    def settle(self) -> None:
        """All run, and all replicas follow."""
        for process in self.processes:
            process.resume()
            if process.poll() is not None:
                process.restart()
        for master, replicas in self.shards.values():
            for replica in replicas:
                with direct(replica) as client:
                    client.client_unpause()
                    client.config_set("repl-diskless-sync-delay", 0)
                    if follows(replica) != target(master):
                        client.replicaof(*target(master))
            for replica in replicas:
                until(partial(in_step, replica))

    @property
    def processes(self) -> list[Process]:
        return [p for master, replicas in self.shards.values() for p in (master, *replicas)]

    def keys(self, shard: str = "cache-0", count: int = 1, prefix: str = "k") -> list[str]:
        """Keys of a shard."""
        found = (f"{prefix}{i}" for i in range(100_000))
        mine = (key for key in found if self.placement.shard_for(key) == shard)
        return [next(mine) for _ in range(count)]

    def reset_counts(self) -> None:
        for process in self.processes:
            reset_counts_of(process)

    def counts(self, *commands: str) -> dict[str, list[int]]:
        """Shard -> how often its master, then each of its replicas, has run these commands."""
        return {
            name: [
                sum(calls_of(process, command) for command in commands)
                for process in (master, *replicas)
            ]
            for name, (master, replicas) in self.shards.items()
        }

    def document(self, directory: Path, version: int = 1, **settings: object) -> str:
        """URL of a pool document in a file, which is written anew."""
        sentinels = tuple(self.stack.info["sentinels"])
        document = PoolDocument(
            "cache", version, self.placement, sentinels=sentinels, settings=settings
        )
        path = directory / "pool.json"
        path.write_text(document.to_json())
        return f"cachemesh+file://{path}"


def calls_of(process: Process, command: str) -> int:
    with direct(process) as client:
        stats: Any = client.info("commandstats")
    return int(stats.get(f"cmdstat_{command.lower()}", {}).get("calls", 0))


def follows(process: Process) -> tuple[str, int] | None:
    with direct(process) as client:
        told: Any = client.info("replication")
    return (told["master_host"], told["master_port"]) if told["role"] == "slave" else None


def in_step(process: Process) -> bool:
    with direct(process) as client:
        told: Any = client.info("replication")
    return bool(told.get("master_link_status") == "up")


def measured(call: Caller, replicas: int = 2) -> None:
    """Wait until the client knows all replicas, and what they have of what was written so far."""
    now = time.monotonic()

    def known() -> bool:
        if call.mesh._prober is not None:
            call.mesh._prober.hurry()
        nodes = list(call.mesh._nodes().values())
        return bool(nodes) and all(
            len(node.replicas) == replicas
            and all(node.meter.covered(replica.address) > now for replica in node.replicas)
            for node in nodes
        )

    until(known)
