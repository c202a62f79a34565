"""The client of a pool's Sentinels: asks them for masters, replicas and other Sentinels.

Sentinels are tried in order with a short timeout. The first one that answers moves to the front;
if it does not know a master, the next one is asked. A Sentinel's user needs no more rights than
redis.io recommends for clients.

Source: redis.io, "Guidelines for Redis clients with support for Redis Sentinel" and "High
availability with Redis Sentinel".
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import redis

from cachemesh.core.errors import (
    InvalidDocumentError,
    MasterNotFoundError,
    SentinelUnavailableError,
)
from cachemesh.core.malformed_replies import reading_reply
from cachemesh.core.names import Address, parse_address
from cachemesh.discovery.sentinel_connection import SentinelConnection, SentinelOptions

logger = logging.getLogger("cachemesh.discovery")

_IDLE_SECONDS = 60.0  # until an idle connection is closed
_FAILING_SECONDS = 5.0  # after a failure, in which a Sentinel is asked last
_LEARN_SECONDS = 30.0  # between two requests for the other Sentinels
_MAX_LEARNED = 16
_MAX_REPLICAS = 100  # of one shard
_AT_ONCE = 200
"""Commands that one timeout allows for; more of them get proportionally more time."""
_MAX_NUMBERED = 256
_USELESS = frozenset({"s_down", "o_down", "disconnected"})


@dataclass(frozen=True)
class LookupResult:
    """What Sentinels answered to a look-up.

    Attributes:
        masters: shard -> address of its master; shards that no Sentinel knows are missing.
        replicas: shard -> addresses of its replicas that are up; empty unless asked for.
        told_by: shard -> the Sentinel that named the master.
    """

    masters: dict[str, Address] = field(default_factory=dict)
    replicas: dict[str, tuple[Address, ...]] = field(default_factory=dict)
    told_by: dict[str, Address] = field(default_factory=dict)


class SentinelClient:
    """Asks the Sentinels of a pool. Threads may share one; a forked child needs its own.

    Connections stay open for the next look-up. Sentinels that are not given but named by others
    are asked if the given ones fail.

    Args:
        addresses: ``host:port`` of each Sentinel.
        options: credentials and timeout.

    Attributes:
        calls: the number of exchanges with Sentinels so far, failed ones included.
        timeout: seconds to connect to one Sentinel, and again for its replies.
    """

    def __init__(self, addresses: Sequence[str], options: SentinelOptions | None = None) -> None:
        self._given = tuple(parse_address(address, 26379) for address in addresses)
        self._order = list(self._given)
        self._options = options or SentinelOptions()
        self.timeout = self._options.timeout
        self._lock = threading.Lock()
        self._connections: dict[Address, tuple[SentinelConnection, float]] = {}
        self._failed_at: dict[Address, float] = {}
        self._learn_at = float("-inf")
        self._masters_refused = False
        self._replicas_refused = False
        self.calls = 0

    def __repr__(self) -> str:
        return f"SentinelClient({', '.join(map(str, self._given))})"

    def __str__(self) -> str:
        return f"Sentinels {', '.join(map(str, self._given))}"

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The Sentinels given and learned, in the order in which they are asked."""
        return tuple(self._order)

    def look_up(self, shards: Sequence[str], with_replicas: bool = False) -> LookupResult:
        """Look up the masters of shards, and on request their replicas.

        Args:
            shards: their names.
            with_replicas: whether to look up replicas too.

        Raises:
            SentinelUnavailableError: no Sentinel answers; the message names each with the reason.
        """
        found = LookupResult()

        def ask(connection: SentinelConnection) -> bool:
            missing = [shard for shard in shards if shard not in found.masters]
            learn = time.monotonic() >= self._learn_at
            commands = [("SENTINEL", "GET-MASTER-ADDR-BY-NAME", shard) for shard in missing]
            if with_replicas and not self._replicas_refused:
                commands += [("SENTINEL", "REPLICAS", shard) for shard in missing]
            if learn:
                commands.append(("SENTINEL", "SENTINELS", missing[0]))
            replies = self._answers(connection, commands)
            for (_, what, shard), reply in zip(commands, replies, strict=True):
                if what == "GET-MASTER-ADDR-BY-NAME":
                    address = master_address(reply)
                    if address is not None:
                        found.masters[shard], found.told_by[shard] = address, connection.address
                elif what == "REPLICAS":
                    self._take_replicas(found, shard, reply)
                else:
                    self._learn(reply)
            return len(found.masters) == len(shards)

        with self._lock:
            if shards:
                self._ask_in_order(ask)
        return found

    def master(self, shard: str) -> Address:
        """Return the address of one shard's master.

        Raises:
            SentinelUnavailableError: no Sentinel answers.
            MasterNotFoundError: no Sentinel that answers monitors the shard.
        """
        found = self.look_up([shard]).masters
        if shard not in found:
            raise MasterNotFoundError(
                f"None of the {self} monitors a master named {shard!r}; "
                f"look with: SENTINEL MASTER {shard}"
            )
        return found[shard]

    def shards_of(self, pool: str) -> list[str]:
        """Return the names of all masters called ``POOL`` or ``POOL-...``, sorted.

        If a Sentinel's ACL forbids SENTINEL MASTERS, it is asked for each of ``POOL`` and
        ``POOL-0`` to ``POOL-255``.

        Raises:
            SentinelUnavailableError: no Sentinel answers.
        """
        names: list[str] = []

        def ask(connection: SentinelConnection) -> bool:
            if not self._masters_refused:
                (reply,) = self._answers(connection, [("SENTINEL", "MASTERS")])
                if not _is_refusal(reply):
                    monitored = [row.get("name", "") for row in _rows(reply)]
                    names.extend(n for n in monitored if n == pool or n.startswith(f"{pool}-"))
                    return bool(names)
                logger.info("%s refuses SENTINEL MASTERS; asking for each name", connection.address)
                self._masters_refused = True
            likely = [pool, *(f"{pool}-{number}" for number in range(_MAX_NUMBERED))]
            questions = [("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name) for name in likely]
            replies = self._answers(connection, questions)
            names.extend(
                n for n, r in zip(likely, replies, strict=True) if master_address(r) is not None
            )
            return bool(names)

        with self._lock:
            self._ask_in_order(ask)
        return sorted(names)

    def demote(self, address: Address) -> None:
        """Ask this Sentinel after the others, for it has named a master that does not serve."""
        with self._lock:
            now = time.monotonic()
            others = [each for each in self._order if each != address]
            failing = [each for each in others if self._is_failing(each, now)]
            sound = [each for each in others if each not in failing]
            self._order = [*sound, address, *failing]

    def shuffle(self) -> None:
        """Put the Sentinels in random order, so that not all clients ask the same one first."""
        with self._lock:
            now = time.monotonic()
            last = {a: (self._is_failing(a, now), a not in self._given) for a in self._order}
            self._order.sort(key=lambda address: (*last[address], random.random()))

    def close(self) -> None:
        """Close all connections; a later look-up connects again."""
        with self._lock:
            for connection, _ in self._connections.values():
                connection.close()
            self._connections.clear()

    def _is_failing(self, address: Address, now: float) -> bool:
        return now - self._failed_at.get(address, float("-inf")) < _FAILING_SECONDS

    def _ask_in_order(self, ask: Callable[[SentinelConnection], bool]) -> None:
        """Call ``ask`` with a connection to each Sentinel in turn, until it returns True.

        Raises:
            SentinelUnavailableError: no Sentinel answers.
        """
        failures, answered, timed_out = [], False, False
        for address in list(self._order):
            try:
                done = self._ask_one(address, ask)
            except (redis.RedisError, OSError, ValueError) as error:
                failures.append(f"{address}: {str(error) or type(error).__name__}")
                timed_out = timed_out or isinstance(error, (TimeoutError, redis.TimeoutError))
                self._failed_at[address] = time.monotonic()
                self._hang_up(address)
                continue
            answered = True
            self._failed_at.pop(address, None)
            if done:
                self._order = [address, *(a for a in self._order if a != address)]
                break
        self._hang_up_idle()
        if not answered:
            unavailable = SentinelUnavailableError(
                f"No Sentinel answers ({'; '.join(failures) or 'the pool names none'}); "
                "are they running, and are address and password right?"
            )
            unavailable.timed_out = timed_out
            raise unavailable

    def _ask_one(self, address: Address, ask: Callable[[SentinelConnection], bool]) -> bool:
        self.calls += 1
        kept = self._connections.get(address)
        if kept is not None and not kept[0].is_reusable():
            self._hang_up(address)  # such as after a restart of the Sentinel
            kept = None
        options = replace(self._options, timeout=self.timeout)
        connection = SentinelConnection(address, options) if kept is None else kept[0]
        self._connections[address] = connection, time.monotonic()
        return ask(connection)

    def _answers(
        self, connection: SentinelConnection, commands: Sequence[tuple[str, ...]]
    ) -> list[Any]:
        return connection.ask(commands, self.timeout * (1 + len(commands) / _AT_ONCE))

    def _hang_up(self, address: Address) -> None:
        connection, _ = self._connections.pop(address, (None, 0.0))
        if connection is not None:
            connection.close()

    def _hang_up_idle(self) -> None:
        now = time.monotonic()
        for address in [a for a, (_, at) in self._connections.items() if now - at > _IDLE_SECONDS]:
            self._hang_up(address)

    def _take_replicas(self, found: LookupResult, shard: str, reply: Any) -> None:
        if _is_refusal(reply):
            if not self._replicas_refused:
                logger.info(
                    "a Sentinel refuses SENTINEL REPLICAS, so no replicas are known: %s", reply
                )
            self._replicas_refused = True
        elif shard in found.masters and not isinstance(reply, redis.ResponseError):
            found.replicas[shard] = tuple(islice(_usable(_rows(reply)), _MAX_REPLICAS))

    def _learn(self, reply: Any) -> None:
        """Replace the learned Sentinels by those that a reply to SENTINEL SENTINELS names."""
        self._learn_at = time.monotonic() + _LEARN_SECONDS
        if isinstance(reply, redis.ResponseError):
            return  # the Sentinel does not know the shard, or its ACL forbids the command
        named = [a for a in _usable(_rows(reply)) if a not in self._given][:_MAX_LEARNED]
        kept = [a for a in self._order if a in self._given or a in named]
        self._order = [*kept, *(a for a in named if a not in kept)]


def _is_refusal(reply: Any) -> bool:
    return isinstance(reply, redis.ResponseError) and str(reply).startswith("NOPERM")


def master_address(reply: Any) -> Address | None:
    """Return the address in a reply to GET-MASTER-ADDR-BY-NAME, None for an unknown shard.

    Raises:
        redis.RedisError: the reply is an error, or of another form.
    """
    if reply is None:
        return None
    if isinstance(reply, redis.ResponseError):
        raise reply
    with reading_reply("a Sentinel"):
        host, port = reply
        return checked_address(host, port)


def checked_address(host: str, port: str) -> Address:
    """Return an address from a Sentinel's reply; with resolve-hostnames, ``host`` is a name.

    Raises:
        InvalidDocumentError: the address is not valid.
    """
    return parse_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def _rows(reply: Any) -> list[dict[str, str]]:
    """Return each row of a reply to SENTINEL MASTERS, REPLICAS or SENTINELS, values as str.

    Raises:
        As `fields`.
    """
    rows = [fields(row) for row in listed(reply)]
    return [{str(name): str(value) for name, value in row.items()} for row in rows]


def fields(row: Any) -> dict[str, Any]:
    """Return a flat list of names and values as a dict.

    Raises:
        As `listed`.
    """
    texts = listed(row)
    with reading_reply("a Sentinel"):
        return dict(zip(texts[::2], texts[1::2], strict=True))


def listed(reply: Any) -> list[Any]:
    """Return a reply that has to be a list.

    Raises:
        redis.ResponseError: the reply is an error.
        redis.InvalidResponse: the reply is something else.
    """
    if isinstance(reply, redis.ResponseError):
        raise reply
    if not isinstance(reply, list):
        raise redis.InvalidResponse("its answer is not that of a Sentinel")
    return reply


def _usable(rows: Iterable[dict[str, str]]) -> Iterator[Address]:
    """Yield the addresses of rows that are up and have a valid address."""
    for row in rows:
        with reading_reply("a Sentinel"):
            flags, host, port = row["flags"].split(","), row["ip"], row["port"]
        if _USELESS.isdisjoint(flags):
            try:
                yield checked_address(host, port)
            except InvalidDocumentError as error:
                logger.debug("a Sentinel names an address that cannot be used: %s", error)
