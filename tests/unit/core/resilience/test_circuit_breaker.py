"""The breaker as a state machine, with times of our own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.resilience.circuit_breaker import (
    FAILURES,
    FIRST_DELAY,
    FORGET_SECONDS,
    LONGEST_DELAY,
    Breaker,
)


def opened() -> Breaker:
    breaker = Breaker()
    assert [breaker.failed(0.0) for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
    return breaker


def test_failures_in_a_row_open_it() -> None:
    breaker = opened()
    assert breaker.state == "open"
    assert not breaker.closed
    assert not breaker.failed(0.1), "it has been opened, and is once only"


def test_an_answer_in_between_ends_the_row() -> None:
    breaker = Breaker()
    for _ in range(10):
        assert not breaker.failed(0.0)
        assert not breaker.failed(0.0)
        assert breaker.served()
    assert breaker.closed


def test_failures_far_apart_are_no_row() -> None:
    breaker = Breaker()
    for number in range(10):
        assert not breaker.failed(number * (FORGET_SECONDS + 1))


def test_attempts_that_fail_together_count_as_one() -> None:
    breaker = Breaker()
    for began in (0.0, 1.0, 1.0, 2.0):
        assert not breaker.failed(2.0, began)
    assert breaker.failures == 1
    assert not breaker.failed(2.2, 2.1)
    assert breaker.failed(2.4, 2.3), "one after the other"


def test_only_a_probe_closes_it() -> None:
    breaker = opened()
    assert not breaker.served()
    assert breaker.state == "open"
    breaker.probing()
    assert breaker.state == "half-open"
    assert not breaker.served()
    breaker.probe_failed()
    assert breaker.state == "open"
    breaker.probing()
    breaker.succeeded()
    assert breaker.closed
    assert not breaker.failed(1.0), "it starts over"


def test_probes_get_rarer_and_start_over() -> None:
    breaker = opened()
    pauses = [breaker.delay(1.0) for _ in range(6)]
    assert pauses == [FIRST_DELAY, 0.2, 0.4, 0.8, LONGEST_DELAY, LONGEST_DELAY]
    assert breaker.delay(0.0) == LONGEST_DELAY / 2
    breaker.succeeded()
    assert breaker.delay(1.0) == FIRST_DELAY


@given(st.lists(st.sampled_from(["failed", "served", "probing", "probe_failed", "succeeded"])))
def test_whatever_happens(events: list[str]) -> None:
    breaker, row = Breaker(), 0
    for event in events:
        before = breaker.state
        if event == "failed":
            row += 1
            assert breaker.failed(1.0) == (before == "closed" and breaker.failures >= FAILURES)
        elif event in ("probing", "probe_failed"):
            if before == "closed":
                continue  # nobody probes then
            getattr(breaker, event)()
        else:
            getattr(breaker, event)()
        assert breaker.state in ("closed", "open", "half-open")
        if before != "closed" and event != "succeeded":
            assert not breaker.closed
        if breaker.closed:
            assert breaker.failures < FAILURES
