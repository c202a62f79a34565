"""Pool documents are read, checked, and written without loss."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.names import Address, parse_address
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.settings import SETTINGS, check_settings, setting_value
from cachemesh.core.pool.topology import Topology

DOCUMENT: dict[str, Any] = {
    "format": 1,
    "pool": "cache",
    "version": 18,
    "placement": SlotsPlacement.even([Shard("cache-0"), Shard("cache-1")]).to_dict(),
    "migration": None,
    "sentinels": ["10.0.0.1:26379", "[::1]:26379"],
    "settings": {"command_timeout": 0.5, "of_a_newer_release": {"a": 1}},
    "of_a_newer_release": [1, 2],
}


def test_unknown_fields_are_kept_and_passed_on() -> None:
    document = PoolDocument.from_dict(DOCUMENT)
    assert json.loads(document.to_json()) == DOCUMENT
    changed = document.replace(version=19)
    assert changed.to_dict() == {**DOCUMENT, "version": 19}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "upgrade cachemesh"),
        ({"pool": "a b"}, "Pool name"),
        ({"version": 0}, "version 0"),
        ({"version": True}, "version True"),
        ({"version": "1"}, "version '1'"),
        ({"migration": 3}, "migration"),
        ({"sentinels": "x"}, "sentinels"),
        ({"sentinels": ["x"]}, "Address 'x'"),
        ({"settings": []}, "settings is not an object"),
        ({"settings": {"command_timeout": "1"}}, "Setting 'command_timeout'"),
        ({"placement": None}, "placement is not an object"),
    ],
)
def test_a_broken_document_names_the_field(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidDocumentError, match=message):
        PoolDocument.from_dict({**DOCUMENT, **change})


@pytest.mark.parametrize("text", ["", "{", "[]", "nul", b"\xff\xfe", "[" * 100_000])
def test_what_is_not_a_document_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidDocumentError):
        PoolDocument.from_json(text)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_no_json_value_breaks_the_reader(value: object) -> None:
    for name in DOCUMENT:
        try:
            PoolDocument.from_dict({**DOCUMENT, name: value})
        except InvalidDocumentError:
            pass


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1:6379", Address("10.0.0.1", 6379)),
        ("redis-1.internal:1", Address("redis-1.internal", 1)),
        ("[::1]:6379", Address("::1", 6379)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        ":1",
        "h:0",
        "h:65536",
        "h:x",
        "h:+1",
        "::1:6379",
        "a b:1",
        "h:1\n",
        None,
        7,
        "h:²",
    ],
)
def test_what_is_not_an_address_is_refused(text: object) -> None:
    with pytest.raises(InvalidDocumentError, match="Address"):
        parse_address(text)


def test_settings_have_bounds_and_defaults() -> None:
    assert check_settings({"command_timeout": 1}) == {"command_timeout": 1}
    assert setting_value({}, "poll_interval") == SETTINGS["poll_interval"].default
    with pytest.raises(InvalidDocumentError, match="Unknown setting 'nope'; known are"):
        check_settings({"nope": 1})
    for bad in (0, -1, True, "1", None, float("nan"), float("inf"), 1e9):
        with pytest.raises(InvalidDocumentError, match="command_timeout"):
            check_settings({"command_timeout": bad})


def test_a_topology_keeps_the_masters_of_shards_that_stay() -> None:
    document = PoolDocument.from_dict(DOCUMENT)
    master = Address("10.0.0.5", 6379)
    topology = Topology(document).with_masters({"cache-0": master, "stranger": master})
    assert topology.masters == {"cache-0": master}
    assert topology.with_masters({"cache-0": master}) is topology
    fewer = document.replace(placement=SlotsPlacement.even([Shard("cache-1")]))
    assert topology.with_document(fewer).masters == {}
