"""Pure parts of discovery: stale masters, the throttle of look-ups, changes of a topology."""

from __future__ import annotations

from cachemesh.core.names import Address
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.topology import Topology
from cachemesh.core.resilience.lookup_throttle import SLOWEST, SPACING, LookupThrottle
from cachemesh.core.resilience.stale_masters import SUGGESTED_SECONDS, TOLD_SECONDS, StaleMasters

A, B, C = (Address("10.0.0.1", port) for port in (1, 2, 3))
T0 = 1000.0


def test_without_a_move_every_answer_is_believed() -> None:
    holds = StaleMasters()
    assert holds.admits("s", A, T0)
    assert holds.admits("s", B, T0)


def test_a_move_holds_against_the_former_master_alone_and_for_a_while() -> None:
    holds = StaleMasters()
    holds.moved("s", A, B, T0, SUGGESTED_SECONDS)
    assert not holds.admits("s", A, T0 + SUGGESTED_SECONDS - 0.1)
    assert holds.admits("other", A, T0)
    assert holds.admits("s", A, T0 + SUGGESTED_SECONDS)
    holds.moved("s", A, B, T0, SUGGESTED_SECONDS)
    assert holds.admits("s", C, T0 + 1), "a third one is news"
    assert holds.admits("s", A, T0 + 1)


def test_once_a_sentinel_knows_the_others_have_a_little_more_time() -> None:
    holds = StaleMasters()
    holds.moved("s", A, B, T0, SUGGESTED_SECONDS)
    assert holds.admits("s", B, T0 + 1)
    assert not holds.admits("s", A, T0 + 1 + TOLD_SECONDS - 0.1)
    assert holds.admits("s", A, T0 + 1 + TOLD_SECONDS)


def test_a_master_that_does_not_serve_ends_the_hold() -> None:
    holds = StaleMasters()
    holds.moved("s", A, B, T0, SUGGESTED_SECONDS)
    holds.failed("s", A)
    assert not holds.admits("s", A, T0), "that is the former one"
    holds.failed("s", B)
    assert holds.admits("s", A, T0)


def test_two_moves_in_a_row_and_back() -> None:
    holds = StaleMasters()
    holds.moved("s", A, B, T0, SUGGESTED_SECONDS)
    holds.moved("s", B, C, T0 + 1, SUGGESTED_SECONDS)
    assert not holds.admits("s", A, T0 + 2)
    assert not holds.admits("s", B, T0 + 2)
    holds.moved("s", C, A, T0 + 3, SUGGESTED_SECONDS)
    assert holds.admits("s", A, T0 + 4)
    assert not holds.admits("s", C, T0 + 4)


def test_not_quite_two_questions_a_second() -> None:
    pace = LookupThrottle()
    assert pace.ready_at < T0
    pace.asked(T0, 1, True, 0.5)
    assert pace.ready_at == T0 + SPACING
    pace.asked(T0, 3, True, 0.5)
    assert pace.ready_at == T0 + SPACING * 3, "three Sentinels were asked"


def test_while_nobody_answers_the_pace_slows_down_to_a_bound() -> None:
    pace, pauses = LookupThrottle(), []
    for _ in range(8):
        pace.asked(T0, 1, False, 0.5)
        pauses.append(round(pace.ready_at - T0, 6))
    assert pauses == [SPACING, SPACING * 2, *[SLOWEST] * 6]
    pace.asked(T0, 1, False, 1.0)
    assert pace.ready_at == T0 + SLOWEST * 1.25
    pace.asked(T0, 1, True, 0.5)
    assert pace.ready_at == T0 + SPACING


def test_replicas_of_a_topology() -> None:
    document = PoolDocument("p", 1, SlotsPlacement.even([Shard("s"), Shard("t")]))
    topology = Topology(document, {"s": A, "t": C})
    with_replicas = topology.with_replicas({"s": (C, B, A, B), "foreign": (A,)})
    assert with_replicas.replicas == {"s": (B, C)}
    assert with_replicas.with_replicas({"s": (B, C)}) is with_replicas
    assert with_replicas.with_masters({"s": A}) is with_replicas
    assert with_replicas.with_masters({"s": B}).replicas == {"s": (C,)}, "one of them is master now"
    smaller = PoolDocument("p", 2, SlotsPlacement.even([Shard("t")]))
    assert with_replicas.with_document(smaller).replicas == {}
    assert with_replicas.with_document(smaller).masters == {"t": C}
