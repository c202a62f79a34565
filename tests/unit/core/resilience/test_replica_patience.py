"""For how long a master that lacks replicas is waited for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.resilience.replica_patience import PATIENCE, ReplicaPatience


@given(st.lists(st.floats(0.001, 1.5), min_size=1, max_size=50))
def test_refusals_that_go_on_are_waited_for_once(gaps: list[float]) -> None:
    patience, now, began = ReplicaPatience(), 100.0, 100.0
    assert patience.waits(now)
    for gap in gaps:
        now += gap
        assert patience.waits(now) is (now - began < PATIENCE)


def test_after_a_calm_they_are_waited_for_again() -> None:
    patience = ReplicaPatience()
    assert patience.waits(0.0)
    assert not patience.waits(2.5)
    assert patience.waits(6.0)
