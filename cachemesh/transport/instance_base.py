"""What both transports know of one instance besides its connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import redis

from cachemesh.core.names import Address
from cachemesh.core.quality.meter import QualityMeter
from cachemesh.core.reads.load_weights import LoadWindow
from cachemesh.core.resilience.circuit_breaker import Breaker
from cachemesh.core.resilience.error_classification import Failure, refused
from cachemesh.core.resilience.retry import Timeouts

PING = b"*1\r\n$4\r\nPING\r\n"
"""A probe's command. Unlike the handshake it is refused while an instance loads its data."""

PING_SECONDS = 1.0


@dataclass(frozen=True)
class InstanceSpec:
    """The definition of an instance within a client.

    Attributes:
        address: of the redis-server.
        template: a redis-py pool with the connection options.
        timeouts: of commands and of connecting.
        role: what the instance has to be; None takes any role.
        noticed: called with the instance and the error when a probe finds that it does not serve.
        meter: counts what the app feels of the shard.
    """

    address: Address
    template: Any
    timeouts: Timeouts
    role: str | None
    noticed: Callable[[Any, Exception], None]
    meter: QualityMeter


class InstanceBase:
    """One instance, and whether it serves.

    Args:
        spec: see there; its attributes are attributes of the instance, too.

    Attributes:
        breaker: whether commands are sent to the instance.
        window: how the instance answered reads lately.
        dropped: the instance is used no more, nor is a connection that is made from now on.
        doubted: the last attempt failed, or the breaker is not closed.
        probes: whether a breaker that opens starts a probe.
    """

    def __init__(self, spec: InstanceSpec) -> None:
        self.address = spec.address
        self.template = spec.template
        self.timeouts = spec.timeouts
        self.role = spec.role
        self.noticed = spec.noticed
        self.meter = spec.meter
        self.breaker = Breaker()
        self.window = LoadWindow()
        self.dropped = False
        self.doubted = False
        self.probes = True
        self._lock = threading.Lock()

    def served(self) -> None:
        """Record a successful reply. Only a successful probe closes an open breaker."""
        if self.doubted:
            with self._lock:
                self.doubted = not self.breaker.served()

    def failed(self, failure: Failure, began: float | None = None) -> None:
        """Record that the instance did not serve; several failures in a row open the breaker.

        Args:
            failure: which.
            began: as of `Breaker.failed`.
        """
        with self._lock:
            opened = self.breaker.failed(time.monotonic(), began)
            self.doubted = True
        if not opened or self.dropped or not self.probes:
            return
        if failure is not Failure.NOT_SENT:
            self.close_idle()  # each would cost its time again
        self._begin_probe()

    def retime(self, timeouts: Timeouts) -> None:
        """Set the timeouts, also of the connections that are there. From any thread."""
        self.timeouts = timeouts

    def close_idle(self) -> None:
        """Close the idle connections, so that the next attempt connects and checks ROLE anew."""
        raise NotImplementedError

    def drop(self, grace: float | None = None) -> None:
        """Close all connections, those in use once their replies have come. From any thread.

        Args:
            grace: seconds after which those still in use are closed as well.
        """
        raise NotImplementedError

    def retire(self, successor: Any) -> None:
        """Drop all connections, but for idle ones, which may pass to the successor."""
        raise NotImplementedError

    def drained(self, but: Collection[Any]) -> bool:
        """Return whether no command is under way any more, nor can be, `but` on these connections.

        Called once `dropped` is set.
        """
        raise NotImplementedError

    def _begin_probe(self) -> None:
        """Have a thread or a task connect until the instance serves."""
        raise NotImplementedError


def why_unfit(error: Exception) -> Exception | None:
    """Return an error of a probe's handshake if it shows that the instance does not serve.

    Returns:
        None if the next command may get the same reply, such as a refused login: such an instance
        serves.
    """
    answers = isinstance(error, (redis.AuthenticationError, redis.ResponseError))
    if isinstance(error, redis.ReadOnlyError) or not answers:
        return error
    return error if refused(error) else None
