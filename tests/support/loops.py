"""Instances and shards without a network, and a player of the loops of `cachemesh.core`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import redis

from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.names import Address
from cachemesh.core.resilience.circuit_breaker import FAILURES, Breaker
from cachemesh.core.resilience.error_classification import Failure, lacks_replicas
from cachemesh.core.resilience.replica_patience import ReplicaPatience
from cachemesh.core.resilience.steps import FindMaster, Loop, Sleep, WaitForMaster
from tests.support.clock import Clock

HERE, THERE = Address("10.0.0.1", 6379), Address("10.0.0.2", 6379)


class Instance:
    """An instance that only keeps count."""

    def __init__(self, address: Address = HERE) -> None:
        self.address = address
        self.breaker = Breaker()
        self.failures: list[Failure] = []
        self.closed_idle = 0

    def failed(self, failure: Failure) -> None:
        self.failures.append(failure)
        self.breaker.failed(0.0)

    def close_idle(self) -> None:
        self.closed_idle += 1

    def open(self) -> None:
        for _ in range(FAILURES):
            self.breaker.failed(0.0)


class Sound(Instance):
    """An instance whose breaker no failure opens."""

    def failed(self, failure: Failure) -> None:
        self.failures.append(failure)


class GaveUpError(ShardUnavailableError):
    """The shard was given up."""


@dataclass
class Group:
    """A shard whose master can be moved."""

    instance: Instance | None
    ended: bool = False
    given_up: list[tuple[Instance | None, Exception]] = field(default_factory=list)
    replica_patience: ReplicaPatience = field(default_factory=ReplicaPatience)

    def give_up(self, instance: Instance | None, error: Exception) -> NoReturn:
        self.given_up.append((instance, error))
        if lacks_replicas(error):
            raise error
        raise GaveUpError(str(error)) from error


@dataclass
class Played:
    """What a loop yielded, and how it ended."""

    steps: list[Any]
    reply: Any = None
    error: Exception | None = None

    @property
    def kinds(self) -> list[type]:
        """The kinds of steps, in order."""
        return [type(step) for step in self.steps]

    def of(self, kind: type) -> list[Any]:
        """The steps of one kind."""
        return [step for step in self.steps if isinstance(step, kind)]


def play(
    loop: Loop,
    clock: Clock,
    outcomes: Sequence[Any] = (),
    seek: Callable[[], object] = lambda: None,
    wait: Callable[[], object] = lambda: None,
) -> Played:
    """Perform the steps of a loop: each `Send` takes the next outcome, the last one for ever.

    Args:
        seek, wait: called at each `FindMaster`, and each `WaitForMaster`.
    """
    played, outcome, left = Played([]), None, list(outcomes)
    while True:
        try:
            step = loop.send(outcome)
        except StopIteration as done:
            played.reply = done.value
            return played
        except (redis.RedisError, OSError) as error:
            played.error = error
            return played
        played.steps.append(step)
        outcome = None
        if isinstance(step, FindMaster):
            seek()
        elif isinstance(step, (WaitForMaster, Sleep)):
            clock.now += step.seconds
            wait()
        else:
            clock.now += 0.001
            outcome = left.pop(0) if len(left) > 1 else left[0]
