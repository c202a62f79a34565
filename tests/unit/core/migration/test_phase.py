"""What the ``migration`` object of a pool document says, and what in it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.migration.phase import Migration
from cachemesh.core.placement import Placement, Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument

AFTER = SlotsPlacement.even([Shard("a"), Shard("b", 3)])
KETAMA = Placement.from_dict({"strategy": "ketama", "shards": [{"name": "a"}, {"name": "c"}]})
MOVED: dict[str, Any] = {
    "phase": "move",
    "strategy": "move",
    "placement": AFTER.to_dict(),
    "stage": 1,
    "stages": 2,
    "back": True,
    "done": ["a"],
    "replicas": {"a": 1, "b": 0},
    "attempt": 3,
}

names = st.sampled_from(["a", "b", "c"])
moved = st.builds(
    Migration,
    phase=st.sampled_from(["prepare", "move"]),
    placement=st.sampled_from([AFTER, KETAMA]),
    moves=st.just(True),
    stage=st.just(0),
    stages=st.integers(1, 2),
    back=st.booleans(),
    done=st.frozensets(names),
    lost=st.frozensets(names),
    replicas=st.dictionaries(names, st.integers(0, 3)),
) | st.builds(
    Migration,
    phase=st.sampled_from(["prepare", "move"]),
    placement=st.just(AFTER),
    moves=st.just(True),
    stage=st.just(1),
    stages=st.just(2),
    back=st.booleans(),
    done=st.frozensets(names),
)
dropped = st.builds(Migration, st.just("prepare"), st.sampled_from([AFTER, KETAMA]))


@given(moved | dropped)
def test_what_is_told_is_read_again(migration: Migration) -> None:
    told = json.loads(json.dumps(migration.to_dict()))
    assert Migration.from_dict(told) == migration
    kept = PoolDocument("cache", 1, AFTER, told)
    assert PoolDocument.from_json(kept.to_json()).migrating == migration


def test_of_dropped_keys_only_the_placement_is_told() -> None:
    assert Migration("prepare", AFTER).to_dict() == {
        "phase": "prepare",
        "strategy": "drop",
        "placement": AFTER.to_dict(),
    }


def test_fields_of_later_releases_are_left_out() -> None:
    read = Migration.from_dict({**MOVED, "of_a_newer_release": [1]})
    assert read == Migration("move", AFTER, True, 1, 2, True, frozenset("a"), {"a": 1, "b": 0})
    least = {"phase": "move", "strategy": "move", "placement": AFTER.to_dict()}
    assert Migration.from_dict(least) == Migration("move", AFTER, True)


@pytest.mark.parametrize(
    "changes", [{"phase": "move"}, {"stage": 1}, {"back": True}, {"lost": frozenset("a")}]
)
def test_keys_may_have_moved_from_the_first_move_on(changes: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"phase": "prepare", "placement": AFTER, "stages": 2}
    assert not Migration(**fields, moves=True).begun
    assert Migration(**{**fields, **changes}, moves=True).begun
    assert not Migration(**{**fields, **changes}).begun, "keys are dropped"


@pytest.mark.parametrize("name", ["phase", "strategy"])
@pytest.mark.parametrize("value", ["of a later release", "", None, 1, True, "absent"])
def test_what_a_later_release_does_has_commands_held(name: str, value: object) -> None:
    told = {**MOVED, name: value}
    if value == "absent":
        del told[name]
    assert Migration.from_dict(told) == Migration("prepare", AFTER)


@pytest.mark.parametrize("name", ["phase", "strategy"])
@pytest.mark.parametrize("value", [["move"], {"name": "move"}])
def test_so_it_does_where_a_later_release_has_an_object_or_a_list(name: str, value: object) -> None:
    assert Migration.from_dict({**MOVED, name: value}) == Migration("prepare", AFTER)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"placement": None}, "placement is not an object"),
        ({"placement": {"strategy": "x"}}, "placement strategy 'x'"),
        ({"stage": -1}, "migration: stage -1 of 2"),
        ({"stage": 2}, "migration: stage 2 of 2"),
        ({"stage": True}, "migration: stage True"),
        ({"stage": "1"}, "migration: stage '1'"),
        ({"stage": None}, "migration: stage None"),
        ({"stage": 0, "stages": 0}, "migration: stage 0 of 0"),
        ({"stages": 3}, "migration: stage 1 of 3"),
        ({"stages": 1.5}, "migration: stage 1 of 1.5"),
        ({"stages": []}, r"migration: stage 1 of \[\]"),
        ({"done": "a"}, "migration.done"),
        ({"done": None}, "migration.done"),
        ({"done": {"a": 1}}, "migration.done"),
        ({"lost": "a"}, "migration.lost"),
        ({"replicas": [1]}, "migration.replicas"),
        ({"replicas": {"a": -1}}, "migration.replicas"),
        ({"replicas": {"a": "1"}}, "migration.replicas"),
        ({"replicas": {"a": True}}, "migration.replicas"),
        ({"replicas": None}, "migration.replicas"),
    ],
)
def test_a_broken_migration_names_the_field(changes: dict[str, Any], message: str) -> None:
    broken = {**MOVED, **changes}
    with pytest.raises(InvalidDocumentError, match=message):
        Migration.from_dict(broken)
    whole = PoolDocument("cache", 1, AFTER).to_dict()
    with pytest.raises(InvalidDocumentError, match=message):
        PoolDocument.from_dict({**whole, "migration": broken})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(st.sampled_from(sorted(MOVED)), json_values)
def test_no_value_of_a_field_breaks_the_reader(name: str, value: object) -> None:
    try:
        Migration.from_dict({**MOVED, name: value})
    except InvalidDocumentError:
        pass
