"""An instance that is measured: the connection to it, and the clients that are told."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any

import redis

from cachemesh.core.malformed_replies import reading_reply
from cachemesh.core.names import Address
from cachemesh.core.reads.read_preference import Readable
from cachemesh.core.reads.replication_lag import LagMeter
from cachemesh.core.reads.replication_status import QUESTIONS, ReplicationStatus, replication_status
from cachemesh.transport import redis_py

logger = logging.getLogger("cachemesh.transport")

LATE_SECONDS = 1.0
"""Seconds without a reply after which the instance counts as failed."""

RECONNECT_SECONDS = 0.5


@dataclass(eq=False)
class ClientInstance:
    """An instance as one client has it."""

    instance: Readable
    meter: LagMeter
    is_master: bool

    def told(self, told: ReplicationStatus | None, asked: float) -> bool:
        """Take in a replication status.

        Args:
            told: None if the reply was not understood.
            asked: when the question was sent, by `time.monotonic`.

        Returns:
            Whether the instance has, as far as is known, all that its master has.
        """
        address = self.instance.address
        if told is None:
            self.meter.forget(address)
            return True
        if told.is_master != self.is_master:
            self.meter.forget(address)
            return False
        if told.is_master:
            self.meter.master_at(address, told.history, asked, told.offset)
            return True
        self.meter.replica_at(address, told.history, told.offset)
        return not self.meter.lacks(address)


@dataclass(eq=False)
class MeasuredInstance:
    """A connection to one instance, and the clients that are told of its replies."""

    address: Address
    views: list[ClientInstance] = field(default_factory=list)
    connection: Any = None
    questions: list[tuple[str, ...]] = field(default_factory=lambda: list(QUESTIONS))
    asked: float | None = None  # when; None if no reply is still to come
    late: bool = False
    refused: bool = False  # the connection, told by the thread that connects
    connect_at: float = 0.0
    heard: bool = False  # all clients know whether the instance serves
    gone: bool = False

    @property
    def is_master(self) -> bool:
        """Whether a client takes the instance for a master."""
        return any(view.is_master for view in self.views)

    def show(self, views: list[ClientInstance]) -> None:
        """Set the clients that are told from now on."""
        known = {id(view.meter) for view in self.views}
        self.heard = self.heard and all(id(view.meter) in known for view in views)
        self.views = views

    def ask(self) -> None:
        """Send the questions. Raises as redis-py does."""
        self.asked = time.monotonic()
        packed = redis_py.pack_all([("PING",), *self.questions[:1]])
        self.connection.send_packed_command([packed], check_health=False)

    def hear(self) -> None:
        """Take in the replies if they have come. Raises as redis-py does."""
        if self.asked is None or not self.connection.can_read(timeout=0):
            return
        serves = not isinstance(self._reply(), redis.exceptions.ResponseError)
        informs = bool(self.questions)
        told = self._status(self._reply()) if informs else None
        now = time.monotonic()
        took = now - self.asked
        for view in self.views:
            sound = (view.told(told, self.asked) if informs else True) and serves
            if sound and took < LATE_SECONDS and view.instance.window.failures:
                view.instance.window.succeeded(now, took)
        self.asked, self.late, self.heard = None, False, True

    def _reply(self) -> Any:
        try:
            with reading_reply():
                return self.connection.read_response(disconnect_on_error=False)
        except redis.exceptions.NoPermissionError:
            return None
        except redis.ConnectionError as error:
            if type(error) is redis.ConnectionError:
                raise
            return redis.exceptions.ResponseError(str(error))  # such as LOADING
        except redis.exceptions.ResponseError as error:
            return error

    def _status(self, reply: Any) -> ReplicationStatus | None:
        if reply is None:
            del self.questions[0]  # the ACL denies this question
            if not self.questions:
                logger.warning(
                    "%s denies INFO and ROLE, so nobody knows what replicas have: max_lag and own "
                    "writes leave the master alone to be read; grant the user +info or +role",
                    self.address,
                )
        return replication_status(self.address, reply)

    def failed(self) -> None:
        """Record that the connection broke, or could not be made."""
        self.close()
        self.connect_at = time.monotonic() + RECONNECT_SECONDS
        for view in self.views:
            view.meter.forget(self.address)
        self.missed()

    def missed(self) -> None:
        """Record that the instance does not serve."""
        for view in self.views:
            view.instance.window.failed(time.monotonic())
        self.heard = True

    def close(self) -> None:
        """Close the connection."""
        connection, self.connection = self.connection, None
        self.asked, self.late = None, False
        if connection is not None:
            connection.disconnect()
