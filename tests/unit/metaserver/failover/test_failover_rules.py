"""The pure parts of a planned failover: Sentinel's rule, its phase, priorities, settings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaserver.domain.errors import RequestRefused
from metaserver.domain.pool_state import Failover
from metaserver.domain.sentinel_view import MonitoredShard, SentinelView
from metaserver.failover.handover import Timings
from metaserver.failover.participant_sentinel import (
    PHASE,
    ReplicaRow,
    first_choice,
    seconds_to_phase,
)
from metaserver.failover.preconditions import agreed_master
from metaserver.failover.recovery import failover_event
from metaserver.failover.resolution import Resolution
from metaserver.failover.saved_settings import SavedSettings
from metaserver.failover.sentinel_choice import preferring

FAILOVER = Failover(1, "cache", "cache-0", "a:1", ("s:1",), "", {})


def row(
    address: str = "a:1",
    *,
    flags: str = "slave",
    priority: int = 100,
    offset: int = 0,
    run_id: str = "x",
) -> ReplicaRow:
    return ReplicaRow(address, frozenset(flags.split(",")), priority, offset, run_id, 0.0)


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([], None),
        ([row(priority=0)], None),
        ([row(flags="slave,s_down"), row(flags="slave,disconnected")], None),
        ([row("a:1", priority=100, offset=9), row("b:1", priority=50)], "b:1"),
        ([row("a:1", offset=8), row("b:1", offset=9)], "b:1"),
        ([row("a:1", run_id="b"), row("b:1", run_id="A")], "b:1"),
        ([row("a:1", priority=0, offset=9), row("b:1", flags="slave")], "b:1"),
    ],
)
def test_whom_sentinel_chooses(rows: list[ReplicaRow], chosen: str | None) -> None:
    choice = first_choice(rows)
    assert (choice.address if choice else None) == chosen


def test_a_row_of_the_reply() -> None:
    fields = {"ip": "::1", "port": "7", "flags": "slave", "info-refresh": "720", "runid": "r"}
    found = ReplicaRow.from_fields({**fields, "slave-priority": "5", "slave-repl-offset": "12"})
    assert found == ReplicaRow("[::1]:7", frozenset({"slave"}), 5, 12, "r", 0.72)
    assert ReplicaRow.from_fields(fields).priority == 100


@given(st.floats(0, 11))
def test_the_phase_comes_within_the_period(age: float) -> None:
    low, high = PHASE
    wait = seconds_to_phase(age)
    assert 0 <= wait <= 10
    assert (wait == 0) == (low <= age <= high)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=5), st.integers(1, 200))
def test_the_preferred_gets_the_lowest_priority(others: list[int], own: int) -> None:
    before = {"to": own, **{f"o{number}": each for number, each in enumerate(others)}}
    changes = preferring("to", before)
    after = {**before, **changes}
    rows = [row(at, priority=each, offset=at != "to") for at, each in after.items()]
    choice = first_choice(rows)
    assert choice is not None
    assert choice.address == "to"
    assert all(after[at] == 0 for at, each in before.items() if each == 0)
    assert all(before[at] != each for at, each in changes.items())


def test_saved_settings_survive_the_store() -> None:
    saved = SavedSettings(("a:1",), "s:1", 10000, "0", {"a:1": "100"})
    assert SavedSettings.from_dict(saved.to_dict()) == saved
    assert SavedSettings.from_dict({}) == SavedSettings()


def test_timings_in_milliseconds() -> None:
    timings = Timings(waited=1.5)
    assert timings.to_dict() == {
        "waited_ms": 1500.0,
        "caught_up_ms": None,
        "promoted_ms": None,
        "demoted_ms": None,
        "resumed_ms": None,
        "announced_ms": None,
    }


def test_what_the_log_says() -> None:
    done = failover_event(
        FAILOVER, Resolution("b:1", True, True), "token:me", after={"promoted_ms": 1.0}
    )
    assert (done.action, done.detail) == (
        "shard.failover",
        "b:1 is master of cache-0 in place of a:1",
    )
    assert done.after == {"master": "b:1", "promoted_ms": 1.0}
    undone = failover_event(
        FAILOVER, Resolution("a:1", False, True, silent_sentinel="s:1"), "token:me", "it stalled"
    )
    assert undone.action == "shard.failover-undone"
    assert undone.detail.startswith(
        "a:1 stays master of cache-0; it stalled; Sentinel s:1 does not"
    )


def view(master: str = "a:1", flags: str = "master", *, usable: bool = True) -> MonitoredShard:
    return MonitoredShard(
        master, "r", frozenset(flags.split(",")), 2, 3, usable, "NOQUORUM", ("b:1", "a:1"), {}
    )


def views(*known: MonitoredShard | None) -> dict[str, SentinelView]:
    return {
        f"s:{number}": SentinelView(f"s:{number}", "refused")
        if each is None
        else SentinelView(f"s:{number}", shards={"cache-0": each})
        for number, each in enumerate(known)
    }


def test_the_master_that_most_sentinels_say() -> None:
    assert agreed_master("cache-0", views(view(), view(), None)) == ("a:1", ("b:1",))


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ([view(), None, None], "sentinels"),
        ([view("a:1"), view("b:1")], "sentinels"),
        ([view(usable=False), view(usable=False), view()], "sentinels"),
        ([view(flags="master,s_down"), view(flags="master,o_down"), view()], "master-down"),
    ],
)
def test_sentinels_that_do_not_let_it_begin(
    known: list[MonitoredShard | None], reason: str
) -> None:
    with pytest.raises(RequestRefused) as caught:
        agreed_master("cache-0", views(*known))
    assert (caught.value.code, caught.value.extra["reason"]) == ("failover-refused", reason)


def test_sentinels_at_a_failover() -> None:
    with pytest.raises(RequestRefused) as caught:
        agreed_master("cache-0", views(view(flags="master,failover_in_progress"), view()))
    assert caught.value.code == "failover-in-progress"
