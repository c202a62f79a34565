"""Asking Sentinels who is master.

Follows redis.io, "Guidelines for Redis clients with support for Redis Sentinel": Sentinels are
tried in order with a short timeout, the first that answers moves to the front, one that does not
know a master is passed over for the next.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachemesh.core.errors import MasterNotFoundError, SentinelUnavailableError
from cachemesh.core.names import Address, parse_address

logger = logging.getLogger("cachemesh.discovery")

DEFAULT_TIMEOUT = 0.3
_LISTEN_STEP = 0.5


@dataclass(frozen=True)
class SentinelOptions:
    """How to connect to Sentinels.

    Attributes:
        username, password: Sentinel's own credentials, not those of Redis.
        timeout: seconds for one Sentinel to connect and to answer.
        connection: further options of `redis.Redis`, such as ``ssl``.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout: float = DEFAULT_TIMEOUT
    connection: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Sentinels:
    """The Sentinels of a pool. Threads may share one; each look-up opens what it needs.

    Args:
        addresses: ``host:port`` of each.
        options: credentials and timeouts.
    """

    def __init__(self, addresses: Sequence[str], options: SentinelOptions | None = None) -> None:
        self._order = [parse_address(address, 26379) for address in addresses]
        self._options = options or SentinelOptions()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Sentinels({', '.join(map(str, self._order))})"

    def masters(self, shards: Sequence[str]) -> dict[str, Address]:
        """Addresses of the masters that some Sentinel knows.

        Raises:
            SentinelUnavailableError: none of the Sentinels answers; each is named with its reason.
        """
        found: dict[str, Address] = {}
        missing = list(shards)

        def ask(sentinel: redis.Redis) -> bool:
            pipe: Any = sentinel.pipeline(transaction=False)  # untyped in redis-py
            for shard in missing:
                pipe.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", shard)
            for shard, reply in zip(list(missing), pipe.execute(), strict=True):
                if reply:
                    with _understood():
                        found[shard] = Address(str(reply[0]), int(reply[1]))
                    missing.remove(shard)
            return not missing

        if missing:
            self._ask_in_order(ask)
        return found

    def master(self, shard: str) -> Address:
        """Address of one shard's master.

        Raises:
            SentinelUnavailableError: none of the Sentinels answers.
            MasterNotFoundError: they answer, but none monitors that shard.
        """
        found = self.masters([shard])
        if shard not in found:
            raise MasterNotFoundError(
                f"No Sentinel of {self} monitors a master named {shard!r}; "
                "look with: SENTINEL MASTERS"
            )
        return found[shard]

    def monitored(self) -> list[str]:
        """Names of all masters that the first answering Sentinel monitors, sorted.

        Raises:
            SentinelUnavailableError: none of the Sentinels answers.
        """
        names: list[str] = []

        def ask(sentinel: redis.Redis) -> bool:
            with _understood():
                names.extend(sentinel.sentinel_masters())  # type: ignore[arg-type]
            return True

        self._ask_in_order(ask)
        return sorted(names)

    def listen(self, on_switch: Callable[[str, Address], None], stop: threading.Event) -> None:
        """Hear ``+switch-master`` from one Sentinel until ``stop`` is set or it breaks off.

        Args:
            on_switch: called with the shard's name and the address of its new master.

        Raises:
            SentinelUnavailableError: none of the Sentinels takes a subscription.
        """
        heard = False

        def ask(sentinel: redis.Redis) -> bool:
            nonlocal heard
            with _pubsub(sentinel) as pubsub:
                pubsub.subscribe("+switch-master")
                heard = True
                while not stop.is_set():
                    with _understood():
                        message = pubsub.get_message(timeout=_LISTEN_STEP)
                    if message and message["type"] == "message":
                        shard, _, _, host, port = str(message["data"]).split(" ")
                        on_switch(shard, Address(host, int(port)))
            return True

        try:
            self._ask_in_order(ask)
        except SentinelUnavailableError:
            if not heard:
                raise

    def _ask_in_order(self, ask: Callable[[redis.Redis], bool]) -> None:
        """Ask one Sentinel after the other until ``ask`` says that it is satisfied."""
        failures, answered = [], False
        for address in list(self._order):
            try:
                with self._connect(address) as sentinel:
                    done = ask(sentinel)
            except (redis.RedisError, OSError, ValueError) as error:
                failures.append(f"{address}: {error}")
                continue
            answered = True
            if done:
                self._to_front(address)
                return
        if not answered:
            raise SentinelUnavailableError(
                f"No Sentinel answers ({'; '.join(failures) or 'the pool names none'}); "
                "are they running, and are address and password right?"
            )

    @contextmanager
    def _connect(self, address: Address) -> Iterator[redis.Redis]:
        options = self._options
        sentinel = redis.Redis(
            host=address.host,
            port=address.port,
            username=options.username,
            password=options.password,
            socket_timeout=options.timeout,
            socket_connect_timeout=options.timeout,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            **options.connection,
        )
        try:
            yield sentinel
        finally:
            sentinel.close()

    def _to_front(self, address: Address) -> None:
        with self._lock:
            self._order = [address, *(a for a in self._order if a != address)]


@contextmanager
def _understood() -> Iterator[None]:
    """Around the reading of an answer: one of another form is an error like any other."""
    try:
        yield
    except (TypeError, AttributeError, LookupError) as error:
        raise redis.InvalidResponse("its answer is not that of a Sentinel") from error


def _pubsub(sentinel: redis.Redis) -> Any:
    make: Any = sentinel.pubsub  # redis-py leaves it untyped
    return make()
