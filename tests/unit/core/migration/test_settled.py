"""Of the keys that have moved, the latest are remembered, and not more than so many."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.migration import settled
from cachemesh.core.migration.settled import SettledKeys

LIMIT = 5


@pytest.fixture(scope="module", autouse=True)
def _few() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settled, "LIMIT", LIMIT)
        yield


def keys(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last)]


def known(of: SettledKeys, some: list[bytes]) -> list[bytes]:
    return [key for key in some if key in of]


def test_what_is_added_is_in_it_and_nothing_else() -> None:
    found = SettledKeys()
    assert b"1" not in found
    found.add([b"1"])
    found.add({b"2"})
    assert known(found, keys(0, 5)) == [b"1", b"2"]
    assert 1 not in found and None not in found


@given(st.lists(st.lists(st.sampled_from(keys(0, 12)), max_size=LIMIT)))
def test_the_latest_are_remembered_and_their_number_is_bounded(added: list[list[bytes]]) -> None:
    found, latest = SettledKeys(), list[bytes]()
    for some in added:
        found.add(some)
        latest += some
        assert set(latest[-LIMIT:]) <= set(known(found, keys(0, 12)))
        assert len(known(found, keys(0, 12))) <= 2 * LIMIT


@given(st.lists(st.integers(0, LIMIT)))
def test_so_it_is_of_keys_that_are_each_added_once(sizes: list[int]) -> None:
    found, at = SettledKeys(), 0
    for size in sizes:
        found.add(keys(at, at + size))
        at += size
        left = known(found, keys(0, at))
        assert left == keys(at - len(left), at), "none is forgotten before an older one"
        assert min(at, LIMIT) <= len(left) <= 2 * LIMIT


def test_many_at_once_are_all_remembered_until_others_are_added() -> None:
    found, many = SettledKeys(), keys(0, 10 * LIMIT)
    found.add(many)
    assert known(found, many) == many
    found.add(keys(100, 100 + LIMIT))
    found.add(keys(200, 200 + LIMIT))
    assert known(found, many) == []
    assert known(found, keys(100, 300)) == keys(100, 100 + LIMIT) + keys(200, 200 + LIMIT)


def test_many_are_remembered_after_few() -> None:
    found, many = SettledKeys(), keys(10, 10 * LIMIT)
    found.add([b"1"])
    found.add(many)
    assert known(found, [b"1", *many]) == [b"1", *many]
