"""Which answers of Sentinels are out of date after a shard's master has moved."""

from __future__ import annotations

from cachemesh.core.names import Address
from cachemesh.core.resilience.stale_masters import REPORTED_SECONDS, TOLD_SECONDS, StaleMasters

A, B, C = (Address("10.0.0.1", port) for port in (1, 2, 3))
T0 = 1000.0


def test_without_a_move_every_answer_is_believed() -> None:
    stale = StaleMasters()
    assert stale.admits("s", A, T0)
    assert stale.admits("s", B, T0)


def test_a_move_holds_against_the_former_master_alone_and_for_a_while() -> None:
    stale = StaleMasters()
    stale.moved("s", A, B, T0, REPORTED_SECONDS)
    assert not stale.admits("s", A, T0 + REPORTED_SECONDS - 0.1)
    assert stale.admits("other", A, T0)
    assert stale.admits("s", A, T0 + REPORTED_SECONDS)
    stale.moved("s", A, B, T0, REPORTED_SECONDS)
    assert stale.admits("s", C, T0 + 1), "a third one is news"
    assert stale.admits("s", A, T0 + 1)


def test_once_a_sentinel_knows_the_others_have_a_little_more_time() -> None:
    stale = StaleMasters()
    stale.moved("s", A, B, T0, REPORTED_SECONDS)
    assert stale.admits("s", B, T0 + 1)
    assert not stale.admits("s", A, T0 + 1 + TOLD_SECONDS - 0.1)
    assert stale.admits("s", A, T0 + 1 + TOLD_SECONDS)


def test_once_the_new_master_does_not_serve_every_answer_is_believed() -> None:
    stale = StaleMasters()
    stale.moved("s", A, B, T0, REPORTED_SECONDS)
    stale.failed("s", A)
    assert not stale.admits("s", A, T0), "that is the former one"
    stale.failed("s", B)
    assert stale.admits("s", A, T0)


def test_two_moves_in_a_row_and_back() -> None:
    stale = StaleMasters()
    stale.moved("s", A, B, T0, REPORTED_SECONDS)
    stale.moved("s", B, C, T0 + 1, REPORTED_SECONDS)
    assert not stale.admits("s", A, T0 + 2)
    assert not stale.admits("s", B, T0 + 2)
    stale.moved("s", C, A, T0 + 3, REPORTED_SECONDS)
    assert stale.admits("s", A, T0 + 4)
    assert not stale.admits("s", C, T0 + 4)
