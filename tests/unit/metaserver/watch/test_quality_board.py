"""What apps feel is merged over the processes of a store, and says who tells nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.quality.histogram import LatencyHistogram
from cachemesh.core.quality.report import ShardQuality
from metaserver.domain.audit_log import NewEvent
from metaserver.process.identity import process_identity
from metaserver.store import Store
from metaserver.watch.quality_board import EVERY, QualityBoard
from tests.support.clock import Clock

OWN, OTHER = process_identity(), process_identity(os.getppid())


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000.0)


@pytest.fixture
def boards(store: Store, clock: Clock) -> Iterator[Sequence[QualityBoard]]:
    """The boards of two processes on one store."""
    document = PoolDocument("cache", 1, SlotsPlacement.even([Shard("a"), Shard("b")]))
    store.create_document(document, NewEvent("pool.create", pool="cache", detail=""))
    store.register(OWN, "10.0.0.1:7700")
    store.register(OTHER, "10.0.0.2:7700")
    yield [QualityBoard(store, owner=owner, clock=clock) for owner in (OWN, OTHER)]


def exchange(boards: Sequence[QualityBoard], times: int = 2) -> None:
    for _ in range(times):
        for board in boards:
            board.exchange()


def felt(calls: int, bucket: int = 63, breaker: str = "closed") -> ShardQuality:
    return ShardQuality(calls, {}, LatencyHistogram([(bucket, calls)]), breaker)


def shards(board: QualityBoard) -> dict[str, Any]:
    return {each["shard"]: each for each in board.shown("cache", 60)["shards"]}


def test_each_process_shows_the_whole_pool(boards: Sequence[QualityBoard], clock: Clock) -> None:
    exchange(boards)
    for number, board in enumerate(boards):
        report = {"a": felt(10), "b": felt(5, breaker="open")}
        board.add("cache", f"client-{number}", report, ["a", "b"])
    exchange(boards)
    for board in boards:
        shown = board.shown("cache", 60)
        assert {s: each["calls"] for s, each in shards(board).items()} == {"a": 20, "b": 10}
        assert shards(board)["b"]["breakers"] == {"open": 2}
        assert {each["client"] for each in shown["clients"]} == {"client-0", "client-1"}
        assert (shown["reporting"], shown["silent"]) == (2, [])
        assert board.totals("cache", ["a", "b"])["a"].calls == 10
    exchange(boards, 5)
    assert shards(boards[0])["a"]["calls"] == 20, "nothing is added twice"


def test_a_process_that_tells_nothing_is_named(
    boards: Sequence[QualityBoard], clock: Clock
) -> None:
    exchange(boards)
    for _ in range(6):
        clock.now += EVERY
        exchange(boards, 1)
    assert boards[0].shown("cache", 60)["silent"] == []
    for _ in range(6):  # the other one hangs
        clock.now += EVERY
        boards[0].exchange()
    assert boards[0].shown("cache", 60)["silent"] == ["10.0.0.2:7700"]
    boards[1].exchange()
    boards[0].exchange()
    assert boards[0].shown("cache", 60)["silent"] == []


def test_alone_it_publishes_nothing(store: Store, clock: Clock) -> None:
    store.register(OWN, "10.0.0.1:7700")
    board = QualityBoard(store, owner=OWN, clock=clock)
    board.add("cache", "client", {"a": felt(10)}, ["a"])
    board.exchange()
    assert store.published_quality() == {}


def test_nonsense_of_another_process_harms_nobody(
    boards: Sequence[QualityBoard], store: Store
) -> None:
    store.publish_quality(OTHER, {"at": 1, "pools": {"cache": {"shards": 3}}}, alive={OWN})
    boards[0].add("cache", "client", {"a": felt(10)}, ["a"])
    exchange(boards[:1])
    assert shards(boards[0])["a"]["calls"] == 10
