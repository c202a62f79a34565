"""A pool whose resizes are planned: its keys, and what a plan has to say of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from cachemesh.core.names import parse_address
from cachemesh.core.placement import Placement
from cachemesh.local import LocalStack
from tests.support.metaserver_process import Api
from tests.support.waiting import AT_MOST

POOL = "/v1/pools/cache"
SPARE = "spare"


class PlannedPool:
    """The pool of a stack, and a master that may become a shard of it.

    Attributes:
        api: requests to its metaserver.
        spare: address of that master.
    """

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self.spare = str(stack.start_redis().address)
        self.api = Api(stack.info["metaservers"][0], stack.token)

    @property
    def placement(self) -> Placement:
        """The placement of now."""
        return Placement.from_dict(self.api("GET", POOL).json["placement"])

    @contextmanager
    def shard(self, name: str, database: int = 0) -> Iterator[Any]:
        """Connect to a shard's master for the block; replies are bytes."""
        at = self.spare if name == SPARE else self._stack.master_of(name)
        host, port = parse_address(at)
        with redis.Redis(host, port, db=database, socket_timeout=AT_MOST) as client:
            yield client

    def put(self, keys: dict[str, Any], database: int = 0) -> None:
        """Write keys where they belong."""
        by_shard: dict[str, dict[str, Any]] = {}
        placement = self.placement
        for key, value in keys.items():
            by_shard.setdefault(placement.shard_for(key), {})[key] = value
        for name, some in by_shard.items():
            with self.shard(name, database) as client:
                client.mset(some)

    def flush(self) -> None:
        """Remove all keys."""
        for name in (*self.placement.names, SPARE):
            with self.shard(name) as client:
                client.flushall()

    def plan_of_adding(self, **more: Any) -> dict[str, Any]:
        """Return the plan of adding the spare master as a shard."""
        reply = self.adding(dry_run=True, **more)
        assert reply.status == 200, reply.text
        plan: dict[str, Any] = reply.json
        return plan

    def adding(self, **more: Any) -> Any:
        """Return the reply to a request that adds the spare master as a shard."""
        body = {"name": SPARE, "master": self.spare, "strategy": "move", **more}
        return self.api("POST", f"{POOL}/shards", body)
