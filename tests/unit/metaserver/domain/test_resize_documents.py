"""The documents of a resize: what clients and later leaders read in them."""

from __future__ import annotations

from typing import Any

import pytest

from cachemesh.core.errors import InvalidDocumentError
from metaserver.domain.fence_record import FenceRecord, fence_of
from metaserver.domain.planning import plan_remove, plan_weight
from metaserver.domain.pool_state import NewSweep, PoolState
from metaserver.domain.resize import (
    Resize,
    begun,
    finished,
    given_up,
    intents_of,
    masters_of,
    prepared,
    resize_of,
    stepped_back,
    sweeps_after,
    waiting,
)
from metaserver.domain.resize_status import shown, status_of
from tests.support.store_records import document

MASTERS = {"a": "10.0.0.1:6379", "b": "10.0.0.2:6379"}
BEFORE = document()
BEGUN = begun(plan_remove(BEFORE, "b"), "token:me", "b", MASTERS)


def under_way(of: Any) -> Resize:
    found = resize_of(of)
    assert found is not None
    return found


def test_clients_are_told_to_hold_then_to_go_on_as_before() -> None:
    clearing = begun(plan_weight(BEFORE, "a", 3), "token:me", "a", MASTERS)
    assert (clearing.migration, clearing.placement) == (None, BEFORE.placement)
    preparing = prepared(clearing, under_way(clearing))
    target = under_way(preparing).placement
    assert preparing.placement == BEFORE.placement != target
    assert preparing.migration == {
        "phase": "prepare",
        "strategy": "drop",
        "placement": target.to_dict(),
        "attempt": 1,
    }
    paused = stepped_back(preparing, under_way(preparing), "waits for client x")
    assert (paused.migration, paused.placement) == (None, BEFORE.placement)
    assert shown(under_way(paused)) == "paused, waits for client x"
    again = prepared(paused, under_way(paused))
    assert again.migration is not None and again.migration["attempt"] == 2
    done = finished(again, under_way(again), None)
    assert (done.migration, done.placement, done.extra) == (None, target, BEFORE.extra)


def test_what_it_waits_for_changes_nothing_else() -> None:
    told = waiting(BEGUN, under_way(BEGUN), "shard a does not answer")
    assert under_way(told).reason == "shard a does not answer"
    assert (told.migration, told.placement) == (BEGUN.migration, BEGUN.placement)


def test_given_up_it_leaves_a_fence_where_a_marker_may_be() -> None:
    preparing = prepared(BEGUN, under_way(BEGUN))
    state = PoolState(preparing, masters={"b": "10.0.0.9:6379"})
    after = given_up(state, under_way(preparing))
    assert (after.migration, after.placement, resize_of(after)) == (None, BEFORE.placement, None)
    assert fence_of(after) == FenceRecord(preparing.version, (), {"b": "10.0.0.9:6379"})

    clearing = begun(plan_weight(BEFORE, "a", 3), "token:me", "a", MASTERS)
    assert fence_of(given_up(PoolState(clearing), under_way(clearing))) is None, "nobody has held"


def test_a_shard_that_leaves_is_drained_at_its_present_master() -> None:
    state = PoolState(BEGUN, masters={"b": "10.0.0.9:6379"})
    assert masters_of(state, under_way(BEGUN)) == {"a": MASTERS["a"], "b": "10.0.0.9:6379"}
    assert sweeps_after(state, under_way(BEGUN)) == [NewSweep("b", "10.0.0.9:6379", drained=True)]

    weighed = begun(plan_weight(BEFORE, "a", 3), "token:me", "a", MASTERS)
    (sweep,) = sweeps_after(PoolState(weighed), under_way(weighed))
    assert sweep == NewSweep("b", MASTERS["b"], drained=False)


@pytest.mark.parametrize(
    "changes",
    [{"state": "lost"}, {"id": "1"}, {"masters": []}, {"intents": 3}, {"attempt": None}],
)
def test_a_resize_that_cannot_be_read_is_told(changes: dict[str, Any]) -> None:
    kept = {**BEGUN.extra["resize"], **changes}
    broken = BEGUN.replace(extra={**BEGUN.extra, "resize": kept})
    with pytest.raises(InvalidDocumentError, match="resize"):
        resize_of(broken)
    status = status_of(PoolState(broken))
    assert status is not None and status["state"] == "invalid"
    assert intents_of(broken) == ()
