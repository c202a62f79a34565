"""Writers that use redis-py's own Sentinel client, and a check that no write is lost."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

import redis
from redis.sentinel import MasterNotFoundError, Sentinel

from cachemesh.core.names import parse_address
from cachemesh.local import LocalStack
from tests.support.plain_redis import connect
from tests.support.waiting import AT_MOST

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

_GIVE_UP = AT_MOST / 2  # seconds that a writer tries one key again


@dataclass
class Writers:
    """Threads that SET one new key after another; a write that is refused is tried again.

    Attributes:
        stack: with the shard.
        shard: its name.
        threads: how many.
        acknowledged: key -> value.
        errors: those after which a write may or may not have been done.
    """

    stack: LocalStack
    shard: str
    threads: int = 2
    acknowledged: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(number,)) for number in range(self.threads)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(AT_MOST)

    def lost(self) -> list[str]:
        """Return acknowledged keys that the master does not hold."""
        with connect(self.stack.master_of(self.shard)) as master:
            keys = list(self.acknowledged)
            values: list[Any] = []
            for start in range(0, len(keys), 1000):
                values += master.mget(keys[start : start + 1000])
        found = dict(zip(keys, values, strict=True))
        return [k for k, v in found.items() if v is None or v.decode() != self.acknowledged[k]]

    def _write(self, number: int) -> None:
        sentinels = [parse_address(address) for address in self.stack.info["sentinels"]]
        asked: Any = Sentinel  # redis-py leaves it without types
        client = asked(
            [(address.host, address.port) for address in sentinels], socket_timeout=2.0
        ).master_for(self.shard, socket_timeout=_GIVE_UP)
        with client:
            count = 0
            while not self._stop.is_set():
                self._write_one(client, f"{self.shard}:{number}:{count}", str(count))
                count += 1
                time.sleep(0.002)

    def _write_one(self, client: redis.Redis, key: str, value: str) -> None:
        began = time.monotonic()
        while True:
            try:
                client.set(key, value)
            except (redis.ConnectionError, redis.ReadOnlyError) as error:
                # What redis-py's Sentinel client makes of READONLY, and of no master at all.
                refused = isinstance(error, (redis.ReadOnlyError, MasterNotFoundError))
                if not refused and "is now a slave" not in str(error):
                    self.errors.append(f"{type(error).__name__}: {error}")
                    return
                if time.monotonic() - began > _GIVE_UP:
                    self.errors.append(f"given up: {error}")
                    return
                time.sleep(0.01)
            except redis.RedisError as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                return
            else:
                self.acknowledged[key] = value
                return
