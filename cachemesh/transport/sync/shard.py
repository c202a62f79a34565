"""The blocking transport: the way to one shard, for any number of threads.

ShardClient (one shard) --- instance of the master --- links
                 --- pool: redis-py connections, for WATCH and pub/sub
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import redis
from redis.connection import ConnectionPool

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.names import Address
from cachemesh.core.resilience.retry import Attempts, Failure, retry_until
from cachemesh.transport import handshake, redis_py
from cachemesh.transport.failures import NOT_SERVED, NotSentError, failure_of, is_answer
from cachemesh.transport.master_locator import Locator
from cachemesh.transport.shard_base import COURT_SECONDS, COURT_STEP, ShardBase, nobody
from cachemesh.transport.sync.connection import Link
from cachemesh.transport.sync.instance import Instance
from cachemesh.transport.sync.pool import ShardPool

_FIND_SECONDS = 1.0  # to ask Sentinel where WATCH and pub/sub go


class ShardClient(ShardBase[Instance]):
    """The way to one shard: finds its master, and tries again what may be tried again.

    Args:
        shard: its name.
        template: connection options.
        locator: knows where the master is.
    """

    _pool: ShardPool | None

    def __init__(self, shard: str, template: ConnectionPool, locator: Locator) -> None:
        super().__init__(shard, template, locator)
        self._blocked: set[Link] = set()  # on which commands wait that block
        self._verifying = threading.Lock()

    @property
    def pool(self) -> ShardPool:
        """A redis-py connection pool to this shard's master."""
        if self._pool is None:
            self._pool = ShardPool(
                self.shard, self._template, lambda: self._timeouts, self._where, self.how_to_look
            )
        return self._pool

    def _where(self, error: Exception | None) -> Address | None:
        instance = self.instance
        if error is None and instance is not None:
            self._check_breaker(instance)
            return instance.address
        if error is not None:
            self._seek(instance, error)
        if self.instance is instance:
            self._look_again(self.master, _FIND_SECONDS)
        return self.master

    def _set_master(self, master: Address | None, grace: float | None) -> None:
        super()._set_master(master, grace)
        if self._pool is not None:
            self._pool.disconnect(inuse_connections=False)

    def _make(self, address: Address, role: str | None) -> Instance:
        noticed = nobody if role is None else self._seek
        return Instance(address, self._template, self.timeouts_for(role), role, noticed)

    def close(self) -> None:
        """As `end`, and end commands that block on the server. From any thread.

        The connections of WATCH and pub/sub are closed as well, also those in use.
        """
        self.closed = True
        self.end()
        for link in list(self._blocked):
            link.shut()
        if self._pool is not None:
            self._pool.disconnect()

    def execute(self, args: tuple[Any, ...], repeatable: bool, decode: bool = True) -> Any:
        """Send one command and return its reply, within the time limit for commands.

        A command that surely has not run (there is no connection, or it was refused with READONLY,
        LOADING or the like) is sent again, to another master as soon as one is known. One that may
        have run is so only if it is ``repeatable``: it only reads, or the app has said so.

        Raises:
            ShardUnavailableError: the master does not serve; ShardTimeoutError: not in time.
            redis.ResponseError: the command was answered with an error.
            redis.DataError: an argument Redis has no form for.
        """
        payload = redis_py.pack(args)
        deadline = time.monotonic() + self.limit
        instance = self.instance
        try:
            if instance is None:
                raise NotSentError
            reply = instance.ask(payload, decode, deadline)
        except NOT_SERVED as error:
            return self.again(payload, repeatable, decode, deadline, instance, error)
        if isinstance(reply, Exception):
            if is_answer(reply):
                raise reply
            return self.again(payload, repeatable, decode, deadline, instance, reply)
        return reply

    def again(
        self,
        payload: bytes,
        repeatable: bool,
        decode: bool,
        deadline: float,
        instance: Instance | None,
        error: Exception,
        patience: float = 0.0,
    ) -> Any:
        """Go on after a first attempt that failed."""
        attempts = Attempts(repeatable, retry_until(deadline, time.monotonic()))
        while True:
            self.settle(attempts, instance, error)
            instance = self.instance
            try:
                if instance is None:
                    raise NotSentError
                left = deadline - time.monotonic() + patience
                reply = self._ask(instance, payload, decode, left, patience)
            except NOT_SERVED as failure:
                error = failure
                continue
            if not isinstance(reply, Exception):
                return reply
            if is_answer(reply):
                raise reply
            error = reply

    def settle(self, attempts: Attempts, instance: Instance | None, error: Exception) -> None:
        """Return when it is time for the next attempt.

        Raises:
            ShardUnavailableError: there shall be none.
        """
        failure = failure_of(error)
        if failure is None or self.ended:
            self._raise(instance, error)
        if instance is not None and failure in (Failure.NO_REPLY, Failure.NOT_READY):
            instance.failed(failure)
        if instance is not None and failure is Failure.NOT_MASTER:
            instance.close_idle()  # it gets a write again only after it has said to be master
        if failure is not Failure.BROKEN:
            self._seek(instance, error, attempts.deadline - time.monotonic())
        seen = None if instance is None else instance.address
        moved = self.instance is not instance
        if not moved and instance is not None and not instance.breaker.closed:
            self._raise(instance, error)
        pause = attempts.pause(failure, time.monotonic(), random.random())
        if pause is None:
            self._raise(instance, error)
        if pause and not moved:
            self._locator.wait_for_change(self.shard, seen, pause)

    def _seek(
        self, instance: Instance | None, error: Exception, within: float | None = None
    ) -> None:
        """Find out where the master is; a new one arrives by `point_to`.

        Args:
            within: seconds for each connection made for that.
        """
        if instance is None or failure_of(error) is not Failure.NOT_MASTER:
            self._look_again(None if instance is None else instance.address)
        elif self._verifying.acquire(blocking=False):  # one thread is enough
            try:
                if self.instance is not instance:
                    return
                seen = instance.address
                told = handshake.told_master(error) or self._told_by(seen, within)
                if told is None or told == seen or not self._is_master(told, within):
                    self._look_again(seen)
                else:
                    self._locator.suggest(self.shard, seen, told)
            finally:
                self._verifying.release()

    def _told_by(self, replica: Address, within: float | None) -> Address | None:
        """The master that a replica names."""
        return handshake.told_master(self._no_master(replica, within))

    def _is_master(self, address: Address, within: float | None) -> bool:
        return self._no_master(address, within) is None

    def _no_master(self, address: Address, within: float | None) -> NotSentError | None:
        """Why an instance cannot be written to."""
        candidate = self._make(address, "master")
        try:
            candidate.close(candidate.connect(within))
        except NotSentError as error:
            return error
        finally:
            candidate.drop()
        return None

    def _court(self, former: Address, candidate: Address) -> None:
        threading.Thread(
            target=self._await_promotion,
            args=(former, candidate),
            name="cachemesh-promotion",
            daemon=True,
        ).start()

    def _await_promotion(self, former: Address, candidate: Address) -> None:
        """Body of a thread. Sentinel kills all connections of whom it promotes, this one too."""
        limit = self._timeouts.connecting(None)
        options = {"socket_timeout": limit, "socket_connect_timeout": limit}
        deadline = time.monotonic() + COURT_SECONDS
        connection: Any = None
        while self.master == former and not self.ended and time.monotonic() < deadline:
            try:
                if connection is None:
                    connection = redis_py.connect(self._template, candidate, options, None)
                handshake.require_master(connection)
            except handshake.NotMasterError:
                time.sleep(COURT_STEP)
            except (redis.RedisError, OSError):
                connection = None
                time.sleep(COURT_STEP)
            except ReferenceError:
                break  # the client is gone
            else:
                self._locator.suggest(self.shard, former, candidate)
        if connection is not None:
            connection.disconnect()

    def _look_again(self, seen: Address | None, seconds: float = 0.0) -> Address | None:
        try:
            return self._locator.look_again(self.shard, seen, seconds)
        except (CacheMeshError, redis.RedisError, OSError):
            return seen  # as before: what the shard itself says counts

    def execute_blocking(self, args: tuple[Any, ...], decode: bool, patience: float) -> Any:
        """Send a command that may block on the server for ``patience`` seconds.

        It is sent again only if it surely has not run.

        Raises:
            As `execute`.
        """
        deadline = time.monotonic() + self.limit
        return self.within(redis_py.pack(args), False, decode, deadline, patience)

    def within(
        self,
        payload: bytes,
        repeatable: bool,
        decode: bool,
        deadline: float,
        patience: float = 0.0,
    ) -> Any:
        """As `execute`, with another time limit than usual."""
        instance = self.instance
        try:
            if instance is None:
                raise NotSentError
            left = deadline + patience - time.monotonic()
            reply = self._ask(instance, payload, decode, left, patience)
        except NOT_SERVED as error:
            return self.again(payload, repeatable, decode, deadline, instance, error, patience)
        if isinstance(reply, Exception):
            if is_answer(reply):
                raise reply
            return self.again(payload, repeatable, decode, deadline, instance, reply, patience)
        return reply

    def _ask(
        self, instance: Instance, payload: bytes, decode: bool, seconds: float, patience: float
    ) -> Any:
        if not patience:
            return instance.ask_within(payload, decode, seconds)
        link = instance.take(seconds)
        self._blocked.add(link)
        try:
            if self.closed:  # before it could see the link
                link.shut()
            return instance.ask_on(link, payload, decode, seconds)
        finally:
            self._blocked.discard(link)
