"""Calls of one token are limited per second, and refused calls are logged within bounds."""

from __future__ import annotations

import pytest

from metaserver.api.call_limits import CallLimits
from metaserver.api.refusals import MOST, PERIOD, Refusal, RefusalLog
from metaserver.domain.errors import RequestRefused
from tests.support.clock import Clock


def test_a_token_has_so_many_calls_per_second() -> None:
    clock = Clock()
    limits = CallLimits(1000, 10, clock)

    def call(token: str = "a", operation: str = "listPools") -> None:
        limits.enter(token, operation)
        limits.leave(token, operation)

    for _ in range(20):
        call()
    with pytest.raises(RequestRefused, match="more than 10 other calls per second"):
        call()
    call("b")
    for _ in range(1000):
        call("a", "watchPool")
    clock.now += 0.1
    call()
    with pytest.raises(RequestRefused):
        call()
    clock.now += 3600
    for _ in range(20):
        call()
    with pytest.raises(RequestRefused):
        call()


def test_refusals_are_counted_after_the_first_of_a_kind() -> None:
    clock, lines = Clock(), list[str]()
    refusals = RefusalLog(clock, lines.append)
    kind = Refusal("token:app", "10.0.0.9", "failOver", "cache", "forbidden")
    for _ in range(5):
        refusals.note(kind)
    assert lines == ["refused failOver of pool cache by token:app from 10.0.0.9: forbidden"]
    for number in range(3 * MOST):
        refusals.note(kind._replace(address=f"10.0.1.{number}"))
    assert len(lines) == MOST
    refusals.flush()
    assert len(lines) == MOST
    clock.now += PERIOD
    refusals.flush()
    assert lines[MOST:] == [
        f"refused 4 times more {kind}",
        f"refused {2 * MOST + 1} other calls of more kinds than are told apart",
    ]
    refusals.note(kind)
    assert lines[-1] == lines[0]
