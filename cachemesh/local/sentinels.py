"""Configures the Sentinels of a local stack, and waits until they know all instances."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from cachemesh.core.errors import LocalStackError
from cachemesh.core.names import Address, parse_address
from cachemesh.core.plurals import counted
from cachemesh.local.probes import connect
from cachemesh.local.tls import StackTls

_ONE_OF_SEVERAL = 2.0  # seconds to wait for a Sentinel, where the next one can be asked instead


@dataclass(frozen=True)
class ShardToMonitor:
    """A shard that the Sentinels shall monitor: its name, its master, its number of replicas."""

    name: str
    master: Address
    replicas: int


class StackSentinels:
    """The Sentinels of one stack.

    Args:
        sentinels: their addresses.
        down_after_ms: milliseconds without a reply after which a master counts as down.
        tls: the stack's certificates; None: the Sentinels do not speak TLS.
    """

    def __init__(
        self, sentinels: Sequence[Address], down_after_ms: int, tls: StackTls | None = None
    ) -> None:
        self._tls = tls
        self.addresses = tuple(sentinels)
        self._settings = {
            "down-after-milliseconds": down_after_ms,
            # Sentinel starts a failed failover again after twice this time.
            "failover-timeout": max(10 * down_after_ms, 10_000),
            "parallel-syncs": 1,
        }

    @property
    def quorum(self) -> int:
        """How many Sentinels must agree that a master is down: a majority."""
        return len(self.addresses) // 2 + 1

    def monitor(self, shards: Sequence[ShardToMonitor], timeout: float) -> None:
        """Have every Sentinel monitor the shards (SENTINEL MONITOR).

        Raises:
            LocalStackError: a Sentinel refuses, or they do not all reply within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        for sentinel in self.addresses:
            for shard in shards:
                words = ("MONITOR", shard.name, *shard.master, self.quorum)
                self._ask(sentinel, *words, timeout=_left(deadline))

    def tune(self, names: Sequence[str], timeout: float) -> None:
        """Set each shard's timeouts on every Sentinel (SENTINEL SET). Raises as `monitor`."""
        deadline = time.monotonic() + timeout
        options = [str(part) for pair in self._settings.items() for part in pair]
        for sentinel in self.addresses:
            for name in names:
                self._ask(sentinel, "SET", name, *options, timeout=_left(deadline))

    def introduce(self, shards: Sequence[ShardToMonitor], timeout: float) -> None:
        """Make each Sentinel known to the others at once.

        Sentinels announce themselves every 2 s on the `__sentinel__:hello` channel of their
        masters. A Sentinel accepts the same message when it is PUBLISHed to the Sentinel itself.
        Its fields: ip, port, run id, epoch, then the master's name, ip, port, configuration epoch.

        Raises:
            LocalStackError: the Sentinels do not all reply within `timeout` seconds.

        Source: redis, sentinel.c, sentinelPublishCommand and sentinelProcessHelloMessage.
        """
        deadline = time.monotonic() + timeout
        ids = {at: str(self._ask(at, "MYID", timeout=_left(deadline))) for at in self.addresses}
        for receiver in self.addresses:
            client = connect(receiver, _left(deadline), self._tls)
            try:
                for sender, run_id in ids.items():
                    if sender == receiver:
                        continue
                    for shard in shards:
                        at, master = f"{sender.host},{sender.port}", shard.master
                        about = f"{shard.name},{master.host},{master.port},0"
                        client.publish("__sentinel__:hello", f"{at},{run_id},0,{about}")
            except redis.RedisError as error:
                raise LocalStackError(f"Sentinel {receiver} took no hello: {error}") from error
            finally:
                client.close()

    def await_complete(self, shards: Sequence[ShardToMonitor], timeout: float) -> None:
        """Wait until every Sentinel sees each master up, its replicas and the other Sentinels.

        Raises:
            LocalStackError: a Sentinel does not see them within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        for sentinel in self.addresses:
            for shard in shards:
                while (missing := self.missing(sentinel, shard, _left(deadline))) is not None:
                    if time.monotonic() > deadline:
                        raise LocalStackError(
                            f"Sentinel {sentinel} is not ready after {timeout:g} s: "
                            f"{shard.name}: {missing}"
                        )
                    time.sleep(0.05)

    def missing(self, sentinel: Address, shard: ShardToMonitor, timeout: float) -> str | None:
        """Return what a Sentinel does not know of a shard yet, or None when it knows everything.

        Args:
            sentinel: its address.
            shard: what it shall know.
            timeout: seconds to wait for each of its replies.
        """
        try:
            master = _as_map(self._ask(sentinel, "MASTER", shard.name, timeout=timeout))
            if "down" in master["flags"] or "disconnected" in master["flags"]:
                return f"the master is {master['flags']}"
            if int(master["num-other-sentinels"]) < len(self.addresses) - 1:
                return f"knows {counted(int(master['num-other-sentinels']), 'other Sentinel')}"
            rows = self._ask(sentinel, "REPLICAS", shard.name, timeout=timeout)
            replicas = [_as_map(row) for row in rows]
            # Without a master-link-status the replica has not answered the Sentinel's INFO yet.
            able = [
                row
                for row in replicas
                if row["flags"] == "slave" and row.get("master-link-status") == "ok"
            ]
            if len(able) < shard.replicas:
                return f"sees {len(able)} of {counted(shard.replicas, 'replica')}"
            self._ask(sentinel, "CKQUORUM", shard.name, timeout=timeout)
        except LocalStackError as error:
            return str(error)
        return None

    def master_of(self, name: str) -> Address:
        """Return the address that the first Sentinel to answer names as master.

        Args:
            name: of the shard.

        Raises:
            LocalStackError: no Sentinel answers, or the one that does monitors no such shard.
        """
        errors = []
        for sentinel in self.addresses:
            try:
                found = self._ask(sentinel, "GET-MASTER-ADDR-BY-NAME", name)
            except LocalStackError as error:
                errors.append(str(error))
                continue
            if found is None:
                raise LocalStackError(f"Sentinel {sentinel} monitors no master named {name!r}")
            return parse_address(f"{found[0]}:{found[1]}")
        raise LocalStackError(f"no Sentinel says who is master of {name!r}: {'; '.join(errors)}")

    def _ask(self, sentinel: Address, *words: object, timeout: float = _ONE_OF_SEVERAL) -> Any:
        client = connect(sentinel, timeout, self._tls)
        try:
            # "SENTINEL" as a word of its own: redis-py's parsers of "SENTINEL MASTER" and others
            # differ between releases.
            return client.execute_command("SENTINEL", *words)  # type: ignore[no-untyped-call]
        except redis.RedisError as error:
            command = " ".join(map(str, words))
            raise LocalStackError(f"Sentinel {sentinel}: SENTINEL {command}: {error}") from error
        finally:
            client.close()


def _left(deadline: float) -> float:
    """Return the seconds until the deadline, and at least some for a last attempt."""
    return max(deadline - time.monotonic(), 0.1)


def _as_map(reply: Any) -> dict[str, str]:
    if isinstance(reply, Mapping):
        return {str(key): str(value) for key, value in reply.items()}
    return dict(zip(reply[::2], reply[1::2], strict=True))
