"""The checker of writes finds each kind of harm, and none where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.failover.checker import longest_gap
from benchmarks.failover.forwarder import busiest_second
from benchmarks.failover.values import claim_of, value_of
from benchmarks.failover.writer import Acknowledged, Writer
from cachemesh.core.placement import Shard, SlotsPlacement
from tests.support.placement_history import PlacementHistory
from tests.support.resize_board import FIGURES, Board
from tests.support.resize_client import Worker


class Store:
    """A dictionary in place of a client; `bend` changes its replies."""

    def __init__(self) -> None:
        self.data: dict[str, str] = {}
        self.bend: Callable[[tuple[str, ...], Any], Any] = lambda words, reply: reply

    def call(self, *words: str) -> Any:
        reply: Any = True
        if words[0] == "SET":
            self.data[words[1]] = words[2]
        else:
            found = self.data.get(words[1])
            reply = None if found is None else found.encode()
        return self.bend(words, reply)


def run(store: Store, turns: int = 40) -> Writer:
    """Let a writer take so many turns on the store."""
    writer = Writer("w", "cache-0", "t0")
    left = iter(range(turns + 1))
    steps = writer.steps(lambda: next(left) == turns, seed=1)
    reply = None
    while True:
        try:
            call = steps.send(reply)
        except StopIteration:
            return writer
        reply = None if call is None else store.call(*call.words)


def test_nothing_is_seen_where_nothing_is() -> None:
    writer = run(Store())
    assert len(writer.acknowledged) == 40
    assert (writer.stale, writer.missed, writer.wrong, writer.dropped) == (0, 0, 0, 0)
    assert writer.last == 40
    assert not writer.failures


def test_a_stale_value() -> None:
    store = Store()
    old = value_of("{t0}:last", "w", 1)
    store.bend = lambda words, reply: old.encode() if words == ("GET", "{t0}:last") else reply
    writer = run(store)
    assert writer.stale == 10
    assert writer.wrong == 0
    assert "is 1, acknowledged was" in writer.examples[0]


def test_a_value_of_another_key_or_writer() -> None:
    for bad in (value_of("{t0}:9999", "w", 9999), value_of("{t0}:last", "other", 99), "OK", "1"):
        store = Store()
        store.bend = lambda words, reply, bad=bad: bad if words[0] == "GET" else reply  # type: ignore[misc]
        assert run(store).wrong == 20, bad


def test_a_missing_value_and_a_write_that_was_dropped() -> None:
    store = Store()
    store.bend = lambda words, reply: None
    writer = run(store)
    assert (writer.dropped, writer.missed, len(writer.acknowledged)) == (50, 0, 0)
    store.bend = lambda words, reply: None if words[0] == "GET" else reply
    assert run(store).missed == 20


def test_errors_by_type() -> None:
    store = Store()
    store.bend = lambda words, reply: ConnectionError("no") if words[0] == "GET" else reply
    assert run(store).errors == {"ConnectionError": 20}


def test_values_say_whose_they_are() -> None:
    assert claim_of(value_of("{t}:5", "cache-0/1", 5)) == ("{t}:5", "cache-0/1", 5)


def test_gaps_and_busy_seconds() -> None:
    one, other = Writer("a", "s", "t"), Writer("b", "s", "u")
    one.acknowledged = [Acknowledged(1, 0.0, 1.0), Acknowledged(2, 1.0, 2.0)]
    other.acknowledged = [Acknowledged(1, 0.0, 1.5), Acknowledged(2, 1.5, 5.0)]
    assert longest_gap([one, other], ended=6.0) == 3.0
    assert longest_gap([one], ended=10.0) == 8.0, "nothing more came until the end"
    assert busiest_second([0.0, 0.1, 5.0, 5.9, 5.95, 6.05]) == 3
    assert busiest_second([]) == 0


def test_a_write_at_a_former_owner() -> None:
    one, two = (SlotsPlacement.even([Shard(name)]) for name in ("a", "b"))
    history = PlacementHistory(one, {1: "a", 2: "b"})
    history.add("1970-01-01T00:01:40.000Z", two)
    located = [(1, 0, 1, 99_000_000), (2, 0, 2, 101_000_000), (1, 0, 3, 102_000_000)]
    assert history.misplaced(["key"], located) == ["102.000 key, 3: at a, not at b"]


def test_values_older_than_what_was_acknowledged(tmp_path: Path) -> None:
    board = Board(tmp_path / "board", 1)
    worker = Worker(board, 0)
    worker._judge("key:1", 2 * 5, value_of("key:1", "0", 5).encode())
    worker._judge("key:1", 2 * 5, None)
    worker._judge("key:1", 2 * 5, value_of("key:1", "0", 4).encode())
    worker._judge("key:1", 2 * 5 + 1, value_of("key:1", "0", 4).encode())
    worker._judge("key:1", 2 * 5, value_of("key:2", "0", 5).encode())
    figures = {name: board.figure(0, name) for name in FIGURES[1:3] + FIGURES[5:8]}
    assert figures == {"reads": 5, "hits": 4, "stale": 1, "resurrected": 1, "wrong": 1}
