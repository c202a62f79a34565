"""How many keys are copied at once: as many as take about the time for which a source may block."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metaserver.domain.batch_size import BLOCKED, FIRST, LARGEST, SMALLEST, BatchSize


def after(*costs: float) -> BatchSize:
    """Return the size after batches whose keys took so many seconds each."""
    batch = BatchSize()
    for cost in costs:
        batch.took(cost * batch.size, batch.size)
    return batch


def test_it_grows_to_what_fits() -> None:
    assert BatchSize().size == FIRST
    assert after(*[BLOCKED / 100] * 8).size == 100
    assert after(*[BLOCKED / 10_000] * 12).size == LARGEST
    assert after(*[BLOCKED] * 8).size == SMALLEST


def test_it_at_most_doubles_at_once() -> None:
    assert after(BLOCKED / 10_000).size == 2 * FIRST


def test_a_process_that_waited_for_a_core_now_and_then_changes_little() -> None:
    quick, late = BLOCKED / 100, BLOCKED / 30
    assert after(*[quick, late, quick, late] * 4).size == 100


def test_larger_keys_shrink_it_at_once_and_then_for_good() -> None:
    batch = after(*[BLOCKED / 100] * 8)
    large = BLOCKED / 10
    batch.took(large * batch.size, batch.size)
    assert batch.size == 50
    for _ in range(8):
        batch.took(large * batch.size, batch.size)
    assert batch.size == 10


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, LARGEST)), max_size=30))
def test_it_stays_within_its_bounds(batches: list[tuple[float, int]]) -> None:
    batch = BatchSize()
    for seconds, keys in batches:
        batch.took(seconds, keys)
        assert SMALLEST <= batch.size <= LARGEST
