"""How far keys have moved: what is counted, and what is told of it."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaserver.domain.move_progress import MoveProgress, Rate, SourceCount, SourceProgress

SOURCES = (
    SourceProgress("a", "done", moved=10, left=0),
    SourceProgress("b", "moving", moved=5, bytes_moved=500, left=20),
    SourceProgress("c", "waits", left=30, detail="Connection refused"),
)
PROGRESS = MoveProgress(7, 0, False, SOURCES, 10.0)


def test_what_is_left_takes_so_long_at_the_rate_of_now() -> None:
    assert (PROGRESS.left, PROGRESS.seconds_left) == (50, 5.0)
    unknown = MoveProgress(7, 0, False, (*SOURCES, SourceProgress("d")), 10.0)
    assert (unknown.left, unknown.seconds_left) == (None, None)
    assert MoveProgress(7, 0, False, SOURCES, 0.0).seconds_left is None
    assert MoveProgress(7, 0, False, SOURCES[:1], 0.0).seconds_left == 0.0


def test_it_is_published_as_json() -> None:
    kept = json.loads(json.dumps(PROGRESS.to_dict()))
    assert MoveProgress.from_dict(kept) == PROGRESS
    assert PROGRESS.is_of(7, 0, back=False) and not PROGRESS.is_of(7, 0, back=True)


@pytest.mark.parametrize(
    "kept",
    [
        {},
        {"sources": 3},
        {"sources": [3]},
        {"sources": [{"name": "a"}]},
        {"sources": [], "fields": "of a later release"},
    ],
)
def test_what_another_release_has_published_otherwise_is_no_progress(
    kept: dict[str, object],
) -> None:
    assert MoveProgress.from_dict(kept) is None


def test_a_rate_is_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.at(100.0, 0) == 0.0
    assert rate.at(101.0, 50) == 50.0
    for second in range(2, 30):
        rate.at(100.0 + second, 50 + 10 * second)
    assert rate.at(130.0, 50 + 10 * 30) == 10.0


def test_before_a_pass_has_met_any_key_nothing_is_known_of_what_is_left() -> None:
    count = SourceCount("a")
    assert count.told().left is None
    count.begin_pass(100)
    assert count.told() == SourceProgress("a")
    count.begin_pass(0)
    assert count.told().left == 0


def test_the_size_of_some_keys_tells_that_of_all() -> None:
    count = SourceCount("a")
    count.sized(100)
    count.sized(300)
    count.moved = 10
    assert count.told().bytes_moved == 2000


@given(
    keys=st.integers(1, 20_000),
    share=st.floats(0, 1),
    passed=st.floats(0.05, 1),
    moved=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_what_is_left_is_about_what_a_pass_will_find(
    keys: int, share: float, passed: float, moved: float, seed: int
) -> None:
    drawn = random.Random(seed)
    leaves = [drawn.random() < share for _ in range(keys)]
    seen = max(1, int(keys * passed))
    count = SourceCount("a", moved=100)
    count.begin_pass(keys)
    count.scanned(seen, sum(leaves[:seen]))
    count.moved += int(moved * sum(leaves[:seen]))
    left, truth = count.told().left, sum(leaves) - (count.moved - 100)
    assert left is not None
    # Six standard deviations of the share that was seen.
    error = 6 * (0.25 / seen) ** 0.5 * (keys - seen) + 6 * (0.25 * (keys - seen)) ** 0.5
    assert abs(left - truth) <= error + 1
    if seen == keys:
        assert left == truth
