"""Retry rules: what failed, whether it goes again, and when."""

from __future__ import annotations

import math

import pytest
import redis

from cachemesh.core.resilience.error_classification import (
    BreakerOpenError,
    Failure,
    NotSentError,
    WrongRoleError,
    failure_of,
    refused,
)
from cachemesh.core.resilience.retry import Attempts, Timeouts, retry_until

SAFE = (Failure.NOT_SENT, Failure.NOT_MASTER, Failure.NOT_READY)


def sent_not(cause: Exception) -> NotSentError:
    error = NotSentError(str(cause))
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (NotSentError(), Failure.NOT_SENT),
        (BreakerOpenError(), Failure.NOT_SENT),
        (sent_not(redis.ConnectionError("refused")), Failure.NOT_SENT),
        (sent_not(redis.TimeoutError("slow")), Failure.NOT_SENT),
        (sent_not(WrongRoleError("a replica", None)), Failure.NOT_MASTER),
        (sent_not(redis.AuthenticationError("wrong")), None),
        (WrongRoleError("a replica", None), Failure.NOT_MASTER),
        (redis.ReadOnlyError("You can't write"), Failure.NOT_MASTER),
        (redis.ResponseError("UNBLOCKED force unblock"), Failure.NOT_MASTER),
        (redis.exceptions.BusyLoadingError("loading"), Failure.NOT_READY),
        (redis.exceptions.MasterDownError("down"), Failure.NOT_READY),
        (redis.exceptions.TryAgainError("later"), Failure.NOT_READY),
        (ConnectionResetError("reset"), Failure.BROKEN),
        (redis.InvalidResponse("garbage"), Failure.BROKEN),
        (TimeoutError("late"), Failure.NO_REPLY),
        (BlockingIOError(), Failure.NO_REPLY),
        (redis.TimeoutError("late"), Failure.NO_REPLY),
        (redis.ResponseError("WRONGTYPE"), None),
        (MemoryError(), None),
    ],
    ids=repr,
)
def test_how_an_attempt_failed(error: Exception, failure: Failure | None) -> None:
    assert failure_of(error) is failure


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("READONLY You can't write against a read only replica.", Failure.NOT_MASTER),
        ("LOADING Redis is loading the dataset in memory", Failure.NOT_READY),
        ("MASTERDOWN Link with MASTER is down", Failure.NOT_READY),
        ("OOM command not allowed when used memory > 'maxmemory'.", None),
        ("previous errors.", None),
    ],
)
def test_why_a_transaction_was_discarded(text: str, failure: Failure | None) -> None:
    error = redis.exceptions.ExecAbortError(f"Transaction discarded because of: {text}")
    assert refused(error) is failure


@pytest.mark.parametrize("failure", SAFE)
@pytest.mark.parametrize("retriable", [False, True])
def test_what_has_not_run_goes_again_until_the_time_is_up(
    failure: Failure, retriable: bool
) -> None:
    attempts = Attempts(retriable, deadline=10.0)
    now, delays = 0.0, []
    while (delay := attempts.delay(failure, now, jitter=1.0)) is not None:
        delays.append(delay)
        now += delay + 0.01
    assert delays[:4] == [0.0, 0.005, 0.01, 0.02]
    assert max(delays) == 0.1
    assert now <= 10.01
    assert len(delays) > 80


@pytest.mark.parametrize("failure", [Failure.BROKEN, Failure.NO_REPLY])
def test_what_may_have_run_goes_again_only_if_it_may(failure: Failure) -> None:
    assert Attempts(False, 10.0).delay(failure, 0.0, 0.5) is None
    attempts = Attempts(True, 10.0)
    assert [attempts.delay(failure, 0.0, 0.5) is None for _ in range(3)] == [False, False, True]


def test_a_write_that_was_refused_and_then_lost_is_not_sent_a_third_time() -> None:
    attempts = Attempts(False, 10.0)
    assert attempts.delay(Failure.NOT_MASTER, 0.0, 0.5) is not None
    assert attempts.delay(Failure.BROKEN, 0.1, 0.5) is None


def test_threads_do_not_come_at_once() -> None:
    first, second = Attempts(True, 10.0), Attempts(True, 10.0)
    for attempts in (first, second):
        attempts.delay(Failure.NOT_SENT, 0.0, 0.0)
    assert first.delay(Failure.NOT_SENT, 0.0, 0.0) == 0.0025
    assert second.delay(Failure.NOT_SENT, 0.0, 1.0) == 0.005


def test_until_when() -> None:
    assert retry_until(5.0, 1.0) == 5.0
    assert retry_until(math.inf, 1.0) == 11.0


@pytest.mark.parametrize(
    ("reply", "connect", "within", "seconds"),
    [
        (5.0, 1.0, None, 1.0),
        (0.5, 1.0, None, 0.5),
        (5.0, 1.0, 0.2, 0.2),
        (5.0, 1.0, -3.0, 0.001),
        (None, None, None, None),
        (None, None, math.inf, None),
        (None, None, 2.0, 2.0),
    ],
)
def test_how_long_to_connect(
    reply: float | None, connect: float | None, within: float | None, seconds: float | None
) -> None:
    assert Timeouts(reply, connect).connecting(within) == seconds


def test_too_little_time_to_connect_tells_nothing() -> None:
    timeouts = Timeouts(5.0, 1.0)
    assert [timeouts.too_short(s) for s in (None, 5.0, 0.5, 0.1)] == [False, False, False, True]
    assert not Timeouts(None, None).too_short(math.inf)
