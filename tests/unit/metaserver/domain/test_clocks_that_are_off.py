"""Whose clock is off: what most clocks say counts, and the metaserver's is one of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaserver.domain.diagnosis.clocks import METASERVER, MOST_SKEW, Clock, wrong_clocks


@pytest.mark.parametrize(
    ("ahead", "wrong"),
    [
        ((), {}),
        ((0.9,), {}),
        ((3.0,), {"0": 3.0}),
        ((-3.0,), {"0": -3.0}),
        ((0.0, 3.0, -0.2), {"1": 3.0}),
        ((5.0, 5.0, 5.0), {METASERVER: -5.0}),
        ((5.0, 5.0, 0.0), {"0": 5.0, "1": 5.0}),
        ((9.0, 0.0, 0.0, -4.0), {"0": 9.0, "3": -4.0}),
    ],
)
def test_clocks(ahead: tuple[float, ...], wrong: dict[str, float]) -> None:
    assert wrong_clocks([Clock(str(n), each) for n, each in enumerate(ahead)]) == wrong


def test_a_slow_reply_leaves_room() -> None:
    assert wrong_clocks([Clock("a", 3.0, within=2.5)]) == {}
    assert wrong_clocks([Clock("a", 4.0, within=2.5)]) == {"a": 4.0}


@given(st.lists(st.floats(-MOST_SKEW / 2, MOST_SKEW / 2)), st.floats(5 * MOST_SKEW, 1e6))
def test_one_that_is_far_off_is_found_among_any_number(near: list[float], far: float) -> None:
    clocks = [Clock(str(n), each) for n, each in enumerate(near)]
    assert list(wrong_clocks([*clocks, Clock("far", far)])) == ["far"]


def test_whatever_is_wrong_is_never_all_of_them() -> None:
    for count in range(1, 6):
        for wrong in range(count + 1):
            clocks = [Clock(str(n), 60.0 if n < wrong else 0.0) for n in range(count)]
            assert len(wrong_clocks(clocks)) <= count
