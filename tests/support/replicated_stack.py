"""A stack with replicas: which instance answered a read, and whether replicas are in step."""

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
from tests.support.plain_redis import calls_of, direct, reset_counts_of, target
from tests.support.waiting import until

MODES = ("replica", "prefer_replica", "weighted")
NO_FAILOVER = 600_000  # milliseconds


@contextmanager
def replicated() -> Iterator[Replicated]:
    """Start two shards of three instances each; Sentinels fail none of them over."""
    with LocalStack(
        shards=2, replicas=2, sentinels=1, metaservers=0, down_after_ms=NO_FAILOVER
    ) as stack:
        yield Replicated(stack)


class Replicated:
    """A stack, with the roles that its processes had at the start.

    Attributes:
        stack: its processes.
        url: of its pool.
        shards: name -> master and replicas.
        placement: of its pool.
    """

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
        """Resume or restart every process, and wait until all replicas follow."""
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
        """All instances, of each shard the master first."""
        return [p for master, replicas in self.shards.values() for p in (master, *replicas)]

    def keys(self, shard: str = "cache-0", count: int = 1, prefix: str = "k") -> list[str]:
        """Return keys that the shard owns."""
        found = (f"{prefix}{i}" for i in range(100_000))
        mine = (key for key in found if self.placement.shard_for(key) == shard)
        return [next(mine) for _ in range(count)]

    def reset_counts(self) -> None:
        """Set the statistics of every instance to zero."""
        for process in self.processes:
            reset_counts_of(process)

    def counts(self, *commands: str) -> dict[str, list[int]]:
        """Return shard -> how often its master, then each replica, has run these commands."""
        return {
            name: [
                sum(calls_of(process, command) for command in commands)
                for process in (master, *replicas)
            ]
            for name, (master, replicas) in self.shards.items()
        }

    def document(self, directory: Path, version: int = 1, **settings: object) -> str:
        """Write the pool document to a file, and return its URL."""
        sentinels = tuple(self.stack.info["sentinels"])
        document = PoolDocument(
            "cache", version, self.placement, sentinels=sentinels, settings=settings
        )
        path = directory / "pool.json"
        path.write_text(document.to_json())
        return f"cachemesh+file://{path}"


def follows(process: Process) -> tuple[str, int] | None:
    """Return host and port of the master that an instance replicates; None for a master."""
    with direct(process) as client:
        told: Any = client.info("replication")
    return (told["master_host"], told["master_port"]) if told["role"] == "slave" else None


def in_step(process: Process) -> bool:
    """Return whether the replication link of a replica is up."""
    with direct(process) as client:
        told: Any = client.info("replication")
    return bool(told.get("master_link_status") == "up")


def await_lag_known(call: Caller, replicas: int = 2) -> None:
    """Wait until the client has measured every replica's lag, after all that was written so far."""
    now = time.monotonic()

    def known() -> bool:
        if call.mesh._core._prober is not None:
            call.mesh._core._prober.hurry()
        shards = list(call.mesh._core.shards().values())
        return bool(shards) and all(
            len(shard.replicas) == replicas
            and all(shard.meter.covered(replica.address) > now for replica in shard.replicas)
            for shard in shards
        )

    until(known)
