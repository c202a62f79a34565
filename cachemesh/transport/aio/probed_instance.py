"""Opening asyncio connections to one instance, for commands and for probes."""

from __future__ import annotations

import random
import time
from typing import Any

import redis

from cachemesh.core.resilience.error_classification import (
    CONNECT_REPLIES,
    BreakerOpenError,
    Failure,
    NotSentError,
    is_answer,
)
from cachemesh.transport import redis_py
from cachemesh.transport.aio import handshake
from cachemesh.transport.aio.connection import Connection
from cachemesh.transport.instance_base import InstanceBase, why_unfit


class ProbedInstance(InstanceBase):
    """Opens connections to one instance, and probes it while its breaker is open.

    `Instance` keeps the connections, and sends over them.
    """

    async def connect(self, within: float | None = None) -> Connection:
        """Return a new connection. While the breaker is not closed, no command waits for that.

        Args:
            within: seconds to connect; None for the usual time.

        Raises:
            NotSentError: the instance cannot be connected to, or its breaker is open.
        """
        if not self.breaker.closed:
            raise BreakerOpenError
        began = time.monotonic()
        try:
            connection = await self._open(within)
        except (OSError, *redis_py.NOT_CONNECTED) as error:
            timed_out = isinstance(error, (TimeoutError, redis.TimeoutError))
            unclear = timed_out and self.timeouts.too_short(within)
            if not (isinstance(error, CONNECT_REPLIES) or unclear):
                self.failed(Failure.NOT_SENT, None if timed_out else began)
            raise NotSentError(str(error)) from error
        self.served()
        return connection

    async def _open(self, within: float | None) -> Connection:
        limit = self.timeouts.connecting(within)
        options: dict[str, Any] = {"socket_timeout": limit, "socket_connect_timeout": limit}
        opened = await handshake.connect(self.template, self.address, options, self.role)
        return self._adopt(opened)

    async def _probe(self) -> None:
        """Connect until the instance serves. No command waits for this."""
        try:
            while await self._probe_is_due(self.breaker.delay(random.random())):
                with self._lock:
                    self.breaker.probing()
                error = await self._why_not_serving()
                if error is None:
                    return
                with self._lock:
                    self.breaker.probe_failed()
                if not self.dropped:
                    self.noticed(self, error)
        finally:
            # Whatever else ended this, the next command may find out: nobody else probes.
            with self._lock:
                self.breaker.succeeded()
                self.doubted = False

    async def _why_not_serving(self) -> Exception | None:
        """Return what a probe found; None if the instance serves."""
        try:
            connection = await self._open(None)
        except (OSError, redis.ResponseError, *redis_py.NOT_CONNECTED) as error:
            return why_unfit(error)
        reply = await self._ping(connection)
        return None if reply is None or is_answer(reply) else reply

    def _adopt(self, redis_connection: Any) -> Connection:
        """Return a connection that goes on with the socket of redis-py's."""
        raise NotImplementedError

    async def _probe_is_due(self, delay: float) -> bool:
        """Wait before the next probe; return False if there is to be none."""
        raise NotImplementedError

    async def _ping(self, connection: Connection) -> Exception | None:
        """Send a probe's command, and keep the connection if that succeeded.

        Returns:
            The error reply, or the exception in its place; None after another reply.
        """
        raise NotImplementedError
