"""The Sentinels of a local stack: what they monitor, and waiting until they know each other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from cachemesh.core.errors import LocalStackError
from cachemesh.core.names import Address, parse_address
from cachemesh.core.words import counted
from cachemesh.local.probes import connect


@dataclass(frozen=True)
class Monitored:
    """A shard as the Sentinels should see it."""

    name: str
    master: Address
    replicas: int


class Monitoring:
    """Speaks to all Sentinels of the stack."""

    def __init__(self, sentinels: Sequence[Address], down_after_ms: int) -> None:
        self.sentinels = tuple(sentinels)
        self._settings = {
            "down-after-milliseconds": down_after_ms,
            # Sentinel tries a failed failover again after twice this time.
            "failover-timeout": max(10 * down_after_ms, 10_000),
            "parallel-syncs": 1,
        }

    @property
    def quorum(self) -> int:
        return len(self.sentinels) // 2 + 1

    def monitor(self, shards: Sequence[Monitored]) -> None:
        """SENTINEL MONITOR on every Sentinel. Raises LocalStackError."""
        for sentinel in self.sentinels:
            for shard in shards:
                self._ask(sentinel, "MONITOR", shard.name, *shard.master, self.quorum)

    def tune(self, names: Sequence[str]) -> None:
        """Set the times after which a master counts as down and a failover is tried again."""
        options = [str(part) for pair in self._settings.items() for part in pair]
        for sentinel in self.sentinels:
            for name in names:
                self._ask(sentinel, "SET", name, *options)

    def introduce(self, shards: Sequence[Monitored]) -> None:
        """Tell each Sentinel of the others at once.

        A Sentinel says hello every 2 s on its masters' `__sentinel__:hello` channel; the same
        message PUBLISHed to a Sentinel itself is taken alike (redis, sentinel.c:
        sentinelPublishCommand). Fields: ip, port, run id, epoch, then the master's name, ip, port
        and configuration epoch.
        """
        ids = {at: str(self._ask(at, "MYID")) for at in self.sentinels}
        for hearer in self.sentinels:
            client = connect(hearer)
            try:
                for speaker, run_id in ids.items():
                    if speaker == hearer:
                        continue
                    for shard in shards:
                        at, master = f"{speaker.host},{speaker.port}", shard.master
                        about = f"{shard.name},{master.host},{master.port},0"
                        client.publish("__sentinel__:hello", f"{at},{run_id},0,{about}")
            except redis.RedisError as error:
                raise LocalStackError(f"Sentinel {hearer} took no hello: {error}") from error
            finally:
                client.close()

    def await_complete(self, shards: Sequence[Monitored], timeout: float) -> None:
        """Wait until every Sentinel sees each master up, its replicas and the other Sentinels."""
        deadline = time.monotonic() + timeout
        for sentinel in self.sentinels:
            for shard in shards:
                while (missing := self.missing(sentinel, shard)) is not None:
                    if time.monotonic() > deadline:
                        raise LocalStackError(
                            f"Sentinel {sentinel} is not ready after {timeout:g} s: "
                            f"{shard.name}: {missing}"
                        )
                    time.sleep(0.05)

    def missing(self, sentinel: Address, shard: Monitored) -> str | None:
        """What this Sentinel does not know about a shard yet, None when it knows all."""
        try:
            master = self._ask_map(sentinel, "MASTER", shard.name)
            if "down" in master["flags"] or "disconnected" in master["flags"]:
                return f"the master is {master['flags']}"
            if int(master["num-other-sentinels"]) < len(self.sentinels) - 1:
                return f"knows {counted(int(master['num-other-sentinels']), 'other Sentinel')}"
            replicas = [_as_map(row) for row in self._ask(sentinel, "REPLICAS", shard.name)]
            # A replica without its master's name has not answered the Sentinel's INFO yet.
            able = [
                row
                for row in replicas
                if row["flags"] == "slave" and row.get("master-link-status") == "ok"
            ]
            if len(able) < shard.replicas:
                return f"sees {len(able)} of {counted(shard.replicas, 'replica')}"
            self._ask(sentinel, "CKQUORUM", shard.name)
        except LocalStackError as error:
            return str(error)
        return None

    def master_of(self, name: str) -> Address:
        """The master's address as the first Sentinel that answers says. Raises LocalStackError."""
        errors = []
        for sentinel in self.sentinels:
            try:
                found = self._ask(sentinel, "GET-MASTER-ADDR-BY-NAME", name)
            except LocalStackError as error:
                errors.append(str(error))
                continue
            if found is None:
                raise LocalStackError(f"Sentinel {sentinel} monitors no master named {name!r}")
            return parse_address(f"{found[0]}:{found[1]}")
        raise LocalStackError(f"no Sentinel says who is master of {name!r}: {'; '.join(errors)}")

    def _ask(self, sentinel: Address, *words: object) -> Any:
        client = connect(sentinel, timeout=2.0)
        try:
            # As one word: redis-py's own parsers for SENTINEL replies differ between releases.
            return client.execute_command("SENTINEL", *words)  # type: ignore[no-untyped-call]
        except redis.RedisError as error:
            command = " ".join(map(str, words))
            raise LocalStackError(f"Sentinel {sentinel}: SENTINEL {command}: {error}") from error
        finally:
            client.close()

    def _ask_map(self, sentinel: Address, *words: object) -> dict[str, str]:
        return _as_map(self._ask(sentinel, *words))


def _as_map(reply: Any) -> dict[str, str]:
    if isinstance(reply, Mapping):
        return {str(key): str(value) for key, value in reply.items()}
    return dict(zip(reply[::2], reply[1::2], strict=True))
