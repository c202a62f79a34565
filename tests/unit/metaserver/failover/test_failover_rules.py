"""The pure parts of a planned failover: Sentinel's rule, its phase, priorities, replies, notes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaserver.domain.errors import Problem
from metaserver.failover.handover import Timings
from metaserver.failover.participant_instance import Standing
from metaserver.failover.participant_sentinel import PHASE, Row, first_choice, seconds_to_phase
from metaserver.failover.preconditions import agreed_master
from metaserver.failover.recovery import told
from metaserver.failover.resolution import Settled
from metaserver.failover.saved_settings import Notes
from metaserver.failover.sentinel_choice import preferring
from metaserver.redis_io.reply_parsers import NotRedisError
from metaserver.redis_io.sentinels import SentinelView, ShardView
from metaserver.store import Failover

FAILOVER = Failover(1, "cache", "cache-0", "a:1", ("s:1",), "", {})


def row(
    address: str = "a:1",
    *,
    flags: str = "slave",
    priority: int = 100,
    offset: int = 0,
    run_id: str = "x",
) -> Row:
    return Row(address, frozenset(flags.split(",")), priority, offset, run_id, 0.0)


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
def test_whom_sentinel_chooses(rows: list[Row], chosen: str | None) -> None:
    choice = first_choice(rows)
    assert (choice.address if choice else None) == chosen


def test_a_row_of_the_reply() -> None:
    fields = {"ip": "::1", "port": "7", "flags": "slave", "info-refresh": "720", "runid": "r"}
    found = Row.of({**fields, "slave-priority": "5", "slave-repl-offset": "12"})
    assert found == Row("[::1]:7", frozenset({"slave"}), 5, 12, "r", 0.72)
    assert Row.of(fields).priority == 100


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


def test_roles() -> None:
    master = Standing.of([b"master", 7, [[b"10.0.0.2", b"6379", b"5"]]])
    assert (master.role, master.offset, master.replicas) == ("master", 7, {"10.0.0.2:6379": 5})
    replica = Standing.of([b"slave", b"10.0.0.1", 6379, b"connected", 5])
    assert (replica.role, replica.master, replica.link) == ("replica", "10.0.0.1:6379", "connected")
    for reply in ([b"sentinel", [b"cache-0"]], [b"master", 7, [[b"x"]]], [b"master"], b"PONG"):
        with pytest.raises(NotRedisError):
            Standing.of(reply)


def test_notes_survive_the_store() -> None:
    notes = Notes(("a:1",), "s:1", 10000, "0", {"a:1": "100"})
    assert Notes.from_dict(notes.to_dict()) == notes
    assert Notes.from_dict({}) == Notes()


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
    done = told(FAILOVER, Settled("b:1", True, True), "token:me", after={"promoted_ms": 1.0})
    assert (done.action, done.detail) == (
        "shard.failover",
        "b:1 is master of cache-0 in place of a:1",
    )
    assert done.after == {"master": "b:1", "promoted_ms": 1.0}
    undone = told(FAILOVER, Settled("a:1", False, True, watch="s:1"), "token:me", "it stalled")
    assert undone.action == "shard.failover-undone"
    assert undone.detail.startswith(
        "a:1 stays master of cache-0; it stalled; Sentinel s:1 does not"
    )


def view(master: str = "a:1", flags: str = "master", *, usable: bool = True) -> ShardView:
    return ShardView(
        master, "r", frozenset(flags.split(",")), 2, 3, usable, "NOQUORUM", ("b:1", "a:1"), {}
    )


def views(*known: ShardView | None) -> dict[str, SentinelView]:
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
def test_sentinels_that_do_not_let_it_begin(known: list[ShardView | None], reason: str) -> None:
    with pytest.raises(Problem) as caught:
        agreed_master("cache-0", views(*known))
    assert (caught.value.code, caught.value.extra["reason"]) == ("failover-refused", reason)


def test_sentinels_at_a_failover() -> None:
    with pytest.raises(Problem) as caught:
        agreed_master("cache-0", views(view(flags="master,failover_in_progress"), view()))
    assert caught.value.code == "failover-in-progress"
