"""What a sample tells of all keys: bounds that hold as often as they say, exact where it is all."""

from __future__ import annotations

import math
import random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaserver.domain.key_sample import (
    NAMED,
    BigKey,
    DatabaseSample,
    Estimate,
    ShardSample,
    added,
    biggest,
    exactly,
    shares,
)

OFTEN = 0.85  # of 95 %: the score interval dips to that for very small shares of ten keys
ROUNDS = 100


def sampled(sizes: list[int | None], looked_at: int, draw: random.Random) -> DatabaseSample:
    """Look at so many keys; a size is that of a key that goes to "t", None a key that stays."""
    sample = DatabaseSample(len(sizes), looked_at, looked_at == len(sizes))
    for size in draw.sample(sizes, looked_at):
        if size is not None:
            sample.add("t", size)
    return sample


def holds(estimate: Estimate, truth: float) -> bool:
    return math.floor(estimate.low) <= truth <= math.ceil(estimate.high)


@st.composite
def looked_at_some(draw: st.DrawFn) -> tuple[int, int, int]:
    """Return a number of keys, how many of them move, and how many are looked at."""
    keys = draw(st.integers(10, 300))
    return keys, draw(st.integers(0, keys)), draw(st.integers(10, keys))


@given(looked_at_some())
def test_the_bounds_of_keys_hold_as_often_as_they_say(case: tuple[int, int, int]) -> None:
    """Go through everything that may be drawn, each with its probability."""
    keys, moving, looked_at = case
    held = 0.0
    for found in range(max(0, looked_at - keys + moving), min(looked_at, moving) + 1):
        sample = DatabaseSample(keys, looked_at)
        for _ in range(found):
            sample.add("t", 1)
        ways = math.comb(moving, found) * math.comb(keys - moving, looked_at - found)
        held += holds(sample.keys_to("t"), moving) * ways / math.comb(keys, looked_at)
    assert held >= OFTEN


@settings(max_examples=20)
@given(
    keys=st.integers(200, 400),
    share=st.floats(0.2, 1),
    part=st.floats(0.1, 1),
    spread=st.floats(0, 0.7),
    seed=st.integers(0, 2**32),
)
def test_the_bounds_of_bytes_hold_as_often_as_they_say(
    keys: int, share: float, part: float, spread: float, seed: int
) -> None:
    draw = random.Random(seed)
    sizes = [
        round(50 + draw.lognormvariate(5, spread)) if draw.random() < share else None
        for _ in range(keys)
    ]
    truth = sum(size or 0 for size in sizes)
    looked_at = max(60, round(keys * part))
    estimates = [sampled(sizes, looked_at, draw).bytes_to("t", 200) for _ in range(ROUNDS)]
    assert fmean(holds(each, truth) for each in estimates) >= 0.8
    assert fmean(each.value for each in estimates) == pytest.approx(truth, rel=0.2)


@given(st.lists(st.none() | st.integers(1, 10**9), max_size=100), st.integers(0, 2**32))
def test_it_is_exact_where_every_key_was_looked_at(sizes: list[int | None], seed: int) -> None:
    sample = sampled(sizes, len(sizes), random.Random(seed))
    moving = [size for size in sizes if size is not None]
    assert sample.keys_to("t") == exactly(len(moving))
    assert sample.bytes_to("t", 100) == exactly(sum(moving))
    assert sample.keys_to("elsewhere") == sample.bytes_to("elsewhere", 100) == exactly(0)


@given(
    sizes=st.lists(st.none() | st.integers(1, 10**6), min_size=1, max_size=100),
    part=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_an_estimate_lies_within_its_bounds(
    sizes: list[int | None], part: float, seed: int
) -> None:
    sample = sampled(sizes, round(len(sizes) * part), random.Random(seed))
    found = sample.leaving.get("t")
    for estimate, seen in (
        (sample.keys_to("t"), found.count if found else 0),
        (sample.bytes_to("t", 100), found.total if found else 0),
    ):
        assert seen <= estimate.low <= estimate.value <= estimate.high
    assert sample.keys_to("t").high <= len(sizes)


def test_more_keys_than_there_were_are_no_harm() -> None:
    sample = DatabaseSample(10, looked_at=12)
    sample.add("t", 100)
    assert sample.keys_to("t") == exactly(1)


def test_a_sum_is_as_wide_as_independent_errors_are() -> None:
    one, other = Estimate(10, 7, 14), Estimate(20, 16, 23)
    assert added([one, other]) == Estimate(30, 25, 35)
    assert added([other], [one]) == Estimate(10, 10 - math.hypot(4, 4), 10 + math.hypot(3, 3))
    assert added([]) == exactly(0)


def test_databases_are_added_and_a_shard_has_no_more_than_it_uses() -> None:
    part, whole = DatabaseSample(1000, 100), DatabaseSample(5, 5, complete=True)
    for _ in range(10):
        part.add("t", 500)
    whole.add("t", 70)
    sample = ShardSample({0: part, 3: whole}, used=60_000)
    assert (sample.keys, sample.looked_at, sample.complete) == (1005, 105, False)
    assert sample.targets == {"t"}
    assert sample.keys_to("t").value == 101
    assert sample.bytes_to("t").value == 50_070
    assert sample.bytes_to("t").high == 60_000
    # Where none was seen that goes there, a key of the usual size may.
    assert sample.keys_to("u").high > 1
    assert 60_000 / 1005 < sample.bytes_to("u").high < 60_000


@given(
    st.dictionaries(st.integers(0, 15), st.integers(1, 10**7), max_size=16), st.integers(0, 10**5)
)
def test_each_database_has_its_share(keys: dict[int, int], most: int) -> None:
    found = shares(keys, most)
    assert found.keys() == keys.keys()
    if not most or sum(keys.values()) <= most:
        assert found == keys
    else:
        assert most <= sum(found.values()) < most + len(keys)
        assert all(found[database] >= 1 for database in keys)


def test_the_biggest_keys_come_first_and_once() -> None:
    keys = [BigKey(size, b"k%d" % size, 0, "s", "t") for size in range(50)]
    found = biggest([*keys, *keys])
    assert [key.size for key in found] == list(range(49, 49 - NAMED, -1))


def test_a_name_is_shown_as_text_and_not_endless() -> None:
    assert BigKey(1, b"a\xff\n", 0, "s", "t").to_dict()["key"] == "a\\xff\n"
    assert BigKey(1, b"a" * 1000, 0, "s", "t").to_dict()["key"] == "a" * 200
