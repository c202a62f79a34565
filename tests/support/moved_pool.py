"""A pool whose operator has keys moved: a spare shard, with its replica, is added and removed, or
keys are placed anew."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import cached_property
from http.client import HTTPException
from typing import Any

import redis

from cachemesh.local import LocalStack
from tests.support.metaserver_process import Api
from tests.support.plain_redis import direct
from tests.support.replicated_stack import NO_FAILOVER
from tests.support.waiting import AT_MOST, until

POOL = "/v1/pools/cache"
SPARE = "spare"
CALLS = 50  # of the API, which take longer than several batches
LONGEST = 1200.0  # seconds that a move of a million keys may take on a busy machine


def moving_stack(**options: Any) -> LocalStack:
    """Return a stack, not started, with what a test of a move needs and ``options`` besides.

    A master that gets no time on a busy machine is not failed over.
    """
    usual = {"shards": 2, "replicas": 0, "sentinels": 1, "metaservers": 1, "dashboard": False}
    return LocalStack(**{**usual, "timeout": AT_MOST, "down_after_ms": NO_FAILOVER, **options})


class MovedPool:
    """The pool of a stack, and one more shard that comes and goes.

    Attributes:
        spans: when each move began and ended, in seconds since the epoch.
    """

    def __init__(self, stack: LocalStack, replicas: int = 1) -> None:
        self._stack = stack
        self._replicas = replicas
        self.spans: list[tuple[float, float]] = []
        self._asking: threading.Thread | None = None
        self._answers: list[int] = []

    @cached_property
    def spare(self) -> str:
        """Address of the spare shard's master, which is started."""
        master = str(self._stack.start_redis().address)
        for _ in range(self._replicas):
            _replicate(str(self._stack.start_redis().address), master)
        return master

    @property
    def api(self) -> Api:
        """Requests to a metaserver that answers."""
        return Api(self._stack.info["metaservers"][0], self._stack.token)

    def resize(self) -> dict[str, Any] | None:
        """Return the resize under way."""
        found: dict[str, Any] | None = self.api("GET", f"{POOL}/status").json["resize"]
        return found

    def sweeps(self) -> list[Any]:
        """Return the sweeps under way."""
        found: list[Any] = self.api("GET", f"{POOL}/status").json["sweeps"]
        return found

    def begin_adding(self, keys_per_second: int = 0) -> None:
        """Have the spare shard added."""
        body = {"name": SPARE, "master": self.spare, "strategy": "move"}
        self._ask("POST", f"{POOL}/shards", {**body, "keys_per_second": keys_per_second})

    def begin_removing(self, keys_per_second: int = 0) -> None:
        """Have the spare shard removed."""
        query = f"strategy=move&keys_per_second={keys_per_second}"
        self._ask("DELETE", f"{POOL}/shards/{SPARE}?{query}", None)

    def begin_placing(
        self, placement: Mapping[str, Any], strategy: str = "move", keys_per_second: int = 0
    ) -> None:
        """Have the keys placed by another strategy."""
        how = {"strategy": strategy, "keys_per_second": keys_per_second}
        self._ask("PATCH", f"{POOL}/placement", {"placement": placement, **how})

    def _ask(self, *request: Any) -> None:
        """Send a request that waits for the end of its resize, and go on once that has begun."""
        before = self.document_version()
        self._asking = threading.Thread(target=self._answered, args=request)
        self._asking.start()
        until(lambda: self.document_version() > before)

    def _answered(self, *request: Any) -> None:
        try:
            self._answers.append(self.api(*request).status)
        except (OSError, HTTPException):
            return  # the metaserver was killed; what it had stored goes on

    def document_version(self) -> int:
        """Return the version of the pool."""
        found: int = self.api("GET", POOL).json["version"]
        return found

    def set_pace(self, **pace: Any) -> None:
        """Pause or resume the move, or bound its speed."""
        done = self.api("PATCH", f"{POOL}/resize", pace)
        assert done.status == 200, done.text

    def await_state(self, state: str) -> None:
        """Wait until the resize under way is in this state."""

        def reached() -> bool:
            now = self.resize()
            assert now is not None, f"it is over, and was not seen {state}"
            return bool(now["state"] == state)

        until(reached)

    def give_up(self) -> None:
        """Have the resize under way given up."""
        done = self.api("DELETE", f"{POOL}/resize")
        assert done.status == 200, done.text

    def await_moved_keys(self) -> None:
        """Wait until the spare shard has other keys than now, or no resize is under way."""
        with direct(self.spare) as spare:
            before = spare.dbsize()
            until(lambda: spare.dbsize() != before or self.resize() is None)

    def is_still(self, shard: redis.Redis) -> bool:
        """Return whether a shard gains no keys while the metaserver answers so many calls."""
        before = shard.dbsize()
        for _ in range(CALLS):
            assert self.resize() is not None
        return bool(shard.dbsize() == before)

    def end(self, began: float) -> None:
        """Wait until no resize and no sweep is under way, and note when the resize ended."""
        until(lambda: self.resize() is None, LONGEST)
        if self._asking is not None:
            self._asking.join(AT_MOST)
        assert set(self._answers) <= {200, 201, 202, 409}, self._answers
        self.spans.append((began, time.time()))
        until(lambda: not self.sweeps(), LONGEST)

    def add(self) -> None:
        """Add the spare shard, and wait until that is done."""
        began = time.time()
        self.begin_adding()
        self.end(began)

    def remove(self) -> None:
        """Remove the spare shard, and wait until that is done."""
        began = time.time()
        self.begin_removing()
        self.end(began)

    def place(self, placement: Mapping[str, Any], strategy: str = "move") -> None:
        """Have the keys placed by another strategy, and wait until that is done."""
        began = time.time()
        self.begin_placing(placement, strategy)
        self.end(began)

    def events(self) -> list[dict[str, Any]]:
        """Return the audit log, oldest first."""
        found = self.api("GET", "/v1/events?pool=cache&limit=1000").json["events"]
        return list(found)[::-1]


def _replicate(replica: str, master: str) -> None:
    host, _, port = master.rpartition(":")
    with direct(replica) as client:
        client.replicaof(host, int(port))
        until(lambda: _is_level(client))


def _is_level(client: redis.Redis) -> bool:
    told: Any = client.info("replication")
    return bool(told["master_link_status"] == "up")
