"""The steps that the loops of `retry_loop` and `cachemesh.core.reads.read_loop` yield.

A transport performs each step. After `Send` and `Read` it sends the outcome back into the loop:
the reply, the error reply, or the exception that the attempt raised, as a value. After the others
it sends None. Whatever interrupts a step (cancellation, a signal) ends the loop with it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from cachemesh.core.names import Address
from cachemesh.core.resilience.circuit_breaker import Breaker
from cachemesh.core.resilience.error_classification import Failure


class AskedInstance(Protocol):
    """An instance, as far as the loops go."""

    address: Address
    breaker: Breaker

    def failed(self, failure: Failure) -> None:
        """Record that the instance did not serve; several failures in a row open its breaker."""

    def close_idle(self) -> None:
        """Close the idle connections, so that the next attempt connects and checks ROLE anew."""


InstanceT = TypeVar("InstanceT", bound=AskedInstance)


@dataclass(frozen=True, slots=True)
class Send(Generic[InstanceT]):
    """Send a request to an instance.

    Attributes:
        instance: the one to ask.
        request: as the loop was given it; for a pipeline the part that is left.
        seconds: until the deadline.
    """

    instance: InstanceT
    request: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class Read(Send[InstanceT]):
    """As `Send`, and count the reply in the instance's load window."""


@dataclass(frozen=True, slots=True)
class FindMaster(Generic[InstanceT]):
    """Find out where the master is, or have it found out; the shard knows of a new one by itself.

    Attributes:
        instance: the one that failed; None if no master was known.
        error: of the attempt.
        seconds: until the deadline.
    """

    instance: InstanceT | None
    error: Exception
    seconds: float


@dataclass(frozen=True, slots=True)
class WaitForMaster:
    """Wait until another master is known, or some seconds.

    Attributes:
        seen: the master that is known.
        seconds: the longest wait.
    """

    seen: Address | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait some seconds."""

    seconds: float


Step: TypeAlias = "Send[Any] | FindMaster[Any] | WaitForMaster | Sleep"
Loop: TypeAlias = "Generator[Step, Any, Any]"
"""A loop over attempts. It returns the reply, and raises what the app is to see instead."""
