"""The blocking transport to one shard: the first attempt, and how threads wait.

ShardClient -- Instance of the master -- a Connection for each thread
            -- ShardPool: redis-py's own, which WATCH and pub/sub hold
"""

from __future__ import annotations

import threading
from typing import Any

from redis.connection import ConnectionPool

from cachemesh.core.names import Address
from cachemesh.core.quality.meter import SKIPPED
from cachemesh.core.resilience.error_classification import (
    NOT_SERVED,
    Failure,
    NotSentError,
    failure_of,
    is_answer,
)
from cachemesh.transport import redis_py
from cachemesh.transport.instance_base import InstanceSpec
from cachemesh.transport.lease_clock import by_monotonic, clock
from cachemesh.transport.master_locator import MasterLocator
from cachemesh.transport.sync.instance import Instance
from cachemesh.transport.sync.shard_retry import RetryingShard


class ShardClient(RetryingShard):
    """The connections to one shard, for any number of threads.

    The arguments are those of `ShardBase`.
    """

    def __init__(self, name: str, template: ConnectionPool, locator: MasterLocator) -> None:
        super().__init__(name, template, locator)
        self._verifying = threading.Lock()

    def execute(
        self,
        args: tuple[Any, ...],
        retriable: bool,
        decode: bool = True,
        asked: float | None = None,
    ) -> Any:
        """Send one command and return its reply, within the time limit for commands.

        A command that surely has not run (there is no connection, or the reply was READONLY,
        LOADING or the like) is sent again, to another master as soon as one is known. A command
        that may have run is sent again only if it is retriable.

        Args:
            args: the command, one word each argument.
            retriable: the command may run twice: it only reads, or the app has said so.
            decode: whether to decode the reply, if the client decodes replies at all.
            asked: when the app asked, by the clock of leases; None: now.

        Raises:
            ShardUnavailableError: the master does not serve; ShardTimeoutError: not in time.
            redis.ResponseError: the error reply of the command.
            redis.DataError: an argument Redis has no form for.
        """
        payload = redis_py.pack(args)
        if asked is None:
            asked = clock()
        instance = self.instance
        try:
            if instance is None:
                raise NotSentError
            reply = instance.ask(payload, decode, asked + self.limit)
        except NOT_SERVED as error:
            return self.again(args, retriable, decode, by_monotonic(asked), instance, error)
        quality = self.quality
        quality.calls = calls = quality.calls + 1
        if not calls & SKIPPED:
            quality.timed(clock() - asked)
        if isinstance(reply, Exception):
            if is_answer(reply):
                raise reply
            return self.again(args, retriable, decode, by_monotonic(asked), instance, reply)
        return reply

    def _wait_for_master(self, seen: Address | None, seconds: float) -> None:
        self._locator.wait_for_master(self.name, seen, seconds)

    def _seek(self, instance: Instance | None, error: Exception, left: float | None = None) -> None:
        """Find the master, which arrives by `point_to`. One thread at a time asks instances."""
        if failure_of(error) is not Failure.NOT_MASTER:
            self._find(instance, error, 0.0, left)
        elif self._verifying.acquire(blocking=False):
            try:
                if self.instance is instance:
                    self._find(instance, error, 0.0, left)
            finally:
                self._verifying.release()

    def _follow_promotion(self, former: Address, candidate: Address) -> None:
        threading.Thread(
            target=self._await_promotion,
            args=(former, candidate),
            name="cachemesh-promotion",
            daemon=True,
        ).start()

    def _look_up_master(self, former: Address | None, seconds: float) -> None:
        self._locator.look_up_master(self.name, former, seconds)

    def _switched(self, grace: float | None) -> None:
        if self._pool is not None:
            self._pool.disconnect_idle()

    def _instance_of(self, spec: InstanceSpec) -> Instance:
        return Instance(spec)

    def close(self) -> None:
        """Close all connections, also those on which commands block. From any thread.

        Replies under way on others still come.
        """
        self.closed = True
        self.end()
        for instance in (self.instance, *self.replicas):
            if instance is not None:
                instance.drop()
        self._end_blocked()
        if self._pool is not None:
            self._pool.disconnect()
