"""The fence in a pool's document, its marker, and whose a connection is."""

from __future__ import annotations

import pytest

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.fencing import client_of, parse_marker
from metaserver.domain.fence_record import (
    FenceRecord,
    fence_of,
    fenced_of,
    with_fence,
    without_fence,
)
from tests.support.store_records import document


def test_a_later_fence_keeps_whom_an_earlier_one_has() -> None:
    first = FenceRecord(3, ("one",), {"a": "10.0.0.1:6379"})
    fenced = with_fence(document(), first)
    assert fence_of(fenced) == first
    fenced = with_fence(fenced, FenceRecord(5, ("two", "one"), {"b": "10.0.0.2:6379"}))
    both = fence_of(fenced)
    assert both is not None
    assert (both.version, both.clients, sorted(both.masters)) == (5, ("one", "two"), ["a", "b"])
    assert both.left({"one"}) == ("two",)
    assert fenced_of(fenced) == ["one", "two"]
    assert without_fence(fenced) == document()
    assert fenced_of(document()) == []


@pytest.mark.parametrize("kept", ["x", {}, {"version": 1, "clients": 5, "masters": {}}])
def test_what_is_no_fence(kept: object) -> None:
    broken = document().replace(extra={"fence": kept})
    with pytest.raises(InvalidDocumentError, match="fence"):
        fence_of(broken)
    assert fenced_of(broken) == []


def test_markers_and_names() -> None:
    assert [parse_marker(value) for value in (b"12", "12")] == [12, 12]
    for value in (None, b"", b"x", b"-1", "1" * 19, b"\xff", 5):
        assert parse_marker(value) is None
    assert client_of("cachemesh:0123:shop") == client_of("cachemesh:0123") == "0123"
    assert client_of("shop") is client_of("cachemesh:") is None
