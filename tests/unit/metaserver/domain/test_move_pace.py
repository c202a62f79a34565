"""How fast keys are moved: by an operator's bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metaserver.domain.move_pace import KeysPerSecond, Rests, in_words


@given(
    most=st.integers(1, 100_000),
    batches=st.lists(st.tuples(st.integers(1, 500), st.floats(0, 1)), min_size=1),
)
def test_no_more_keys_a_second_than_asked_for(most: int, batches: list[tuple[int, float]]) -> None:
    pace, now, moved = KeysPerSecond(most), 0.0, 0
    for keys, taken in batches:
        now += pace.delay(now, keys)
        assert moved <= most * now + 1e-6
        moved += keys
        now += taken


def test_without_a_bound_nothing_waits() -> None:
    pace = KeysPerSecond(0)
    assert {pace.delay(0.0, keys) for keys in range(1000)} == {0.0}


def answer(rests: Rests, shard: str, seconds: list[float], times: int) -> list[float]:
    """Return the rests after so many rounds of answers, 0.1 s each."""
    found = []
    for number in range(times):
        for each in seconds:
            rests.answered(shard, each, float(number))
        found.append(rests.seconds)
    return found


def test_a_move_rests_longer_while_a_shard_is_too_slow_and_shorter_once_it_is_not() -> None:
    rests = Rests(0.010)
    assert rests.seconds > 0
    assert answer(rests, "a", [0.001], 40)[-1] == 0.0
    grown = answer(rests, "a", [0.050], 60)
    assert grown == sorted(grown) and grown[-1] == 1.0
    shorter = answer(rests, "a", [0.001], 200)
    assert shorter[-1] == 0.0 and shorter[30:] == sorted(shorter[30:], reverse=True)


def test_one_slow_answer_is_an_accident_and_one_in_ten_is_not() -> None:
    for slow, rests in ((1, Rests(0.010)), (2, Rests(0.010))):
        answer(rests, "a", [0.001], 40)
        answer(rests, "a", [5.0] * slow, 1)
        rests.answered("a", 0.001, 100.0)
        assert bool(rests.seconds) == (slow == 2)


def test_the_slower_of_two_shards_counts() -> None:
    rests = Rests(0.010)
    answer(rests, "a", [0.050], 5)
    was = rests.seconds
    answer(rests, "b", [0.001], 6)
    assert rests.seconds > was


def test_a_change_of_the_pace_in_words() -> None:
    assert in_words({"paused": True})[0] == "pause"
    assert in_words({"paused": False}) == ("resume", ["go on moving keys"])
    verb, told = in_words({"keys_per_second": 5000, "max_latency": 0})
    assert verb == "set the pace of"
    assert told == [
        "move at most 5,000 keys a second",
        "have no bound on how long a shard takes to answer",
    ]
