"""Slots: Redis Cluster's hash, exact balance, and the fewest slots moved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.errors import InvalidDocumentError, InvalidKeyError
from cachemesh.core.placement import Placement, Shard, SlotsPlacement, moves
from cachemesh.core.placement.keys import MAX_KEY_BYTES, SLOT_COUNT, key_bytes, key_slot
from cachemesh.core.placement.route_table import RouteTable

VECTORS = Path(__file__).parents[5] / "shared" / "vectors" / "redis_cluster_slots.json"

weights = st.lists(st.integers(1, 1000), min_size=1, max_size=40)


def shards_of(weights: list[int], first: int = 0) -> list[Shard]:
    return [Shard(f"cache-{first + i}", weight) for i, weight in enumerate(weights)]


def test_slots_are_those_of_redis_cluster() -> None:
    if not VECTORS.exists():
        pytest.skip(f"the vectors are not there: {VECTORS}")
    vectors = json.loads(VECTORS.read_text())
    assert len(vectors) >= 200
    assert [key for key, slot in vectors if key_slot(key.encode()) != slot] == []


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"{user:1}:a", b"user:1"),
        (b"a{b}{c}", b"b"),
        (b"{}a", b"{}a"),
        (b"a{b", b"a{b"),
        (b"}a{b}", b"b"),
        (b"{{a}}", b"{a"),
    ],
)
def test_hash_tags(key: bytes, hashed: bytes) -> None:
    assert key_slot(key) == key_slot(b"{" + hashed + b"}") or key_slot(key) == key_slot(hashed)


@given(weights)
def test_every_shard_has_its_exact_share_less_than_one_slot_off(given_weights: list[int]) -> None:
    placement = SlotsPlacement.even(shards_of(given_weights))
    counts = placement.slot_counts()
    assert sum(counts.values()) == SLOT_COUNT
    for shard in placement.shards:
        exact = SLOT_COUNT * shard.weight / sum(given_weights)
        assert abs(counts[shard.name] - exact) < 1


@given(weights, weights, st.data())
def test_a_change_moves_no_more_slots_than_it_must(
    before_weights: list[int], after_weights: list[int], data: st.DataObject
) -> None:
    before = SlotsPlacement.even(shards_of(before_weights))
    first = data.draw(st.integers(0, len(before_weights)))
    after = before.with_shards(shards_of(after_weights, first))
    had, has = before.slot_counts(), after.slot_counts()
    least = sum(max(0, has[name] - had.get(name, 0)) for name in has)
    assert moves(before, after).slots == least
    # and no other exact deal would have kept more
    total = sum(after_weights)
    ceiling_kept = sum(
        min(had.get(s.name, 0), -(-SLOT_COUNT * s.weight // total)) for s in after.shards
    )
    assert SLOT_COUNT - least <= ceiling_kept


@given(weights)
def test_a_document_gives_the_same_placement_back(given_weights: list[int]) -> None:
    placement = SlotsPlacement.even(shards_of(given_weights))
    document = json.loads(json.dumps({**placement.to_dict(), "later": {"x": 1}}))
    document["shards"][0]["zone"] = "a"
    again = Placement.from_dict(document)
    assert again.to_dict() == document
    assert again.with_shards(again.shards).to_dict() == document
    assert isinstance(again, SlotsPlacement)
    assert again.table == placement.table


def test_adding_then_removing_a_shard_keeps_the_others_balanced() -> None:
    three = SlotsPlacement.even(shards_of([1, 1, 1]))
    four = three.with_shards([*three.shards, Shard("cache-3")])
    assert set(four.slot_counts().values()) == {4096}
    assert moves(three, four).share == 0.25
    assert {m.target for m in moves(three, four).by_pair} == {"cache-3"}
    back = four.with_shards(three.shards)
    assert sorted(back.slot_counts().values()) == [5461, 5461, 5462]
    assert {m.source for m in moves(four, back).by_pair} == {"cache-3"}


def test_a_topology_of_1000_shards() -> None:
    """The time to apply such a topology is a goal of benchmarks/goals.py."""
    document = SlotsPlacement.even(shards_of([1] * 1000)).to_dict()
    targets = {f"cache-{i}": i for i in range(1000)}
    route_table = RouteTable(Placement.from_dict(document), targets)
    for key in map(b"key:%d".__mod__, range(1000)):
        assert route_table.find(key) == targets[route_table.placement.owner(key)]


@pytest.mark.parametrize("weight", [0, -1, 1001, 1.5, True, "1", None])
def test_a_weight_is_an_integer_from_1_to_1000(weight: object) -> None:
    with pytest.raises(InvalidDocumentError, match=r"Weight .* of shard 'cache-0'"):
        Shard("cache-0", weight)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["", "a" * 65, "a\r\nb", "a b", "-a", ".a", "é", None, 7, "a\n", "a/b"]
)
def test_a_name_is_64_plain_characters_at_most(name: object) -> None:
    with pytest.raises(InvalidDocumentError, match=r"Shard name .* is not valid"):
        Shard(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": "rendezvous"}, "Unknown placement strategy"),
        ({"hash": "md5"}, "placement.hash"),
        ({"hash_tag": "<>"}, "placement.hash_tag"),
        ({"shards": []}, "at least one shard"),
        ({"shards": "x"}, "not a list"),
        ({"shards": [3]}, "not an object"),
        ({"shards": [{"name": "a", "slots": [[0, 1]]}]}, "Slot 2 is owned by no shard"),
        ({"shards": [{"name": "a", "slots": [[0, 16384]]}]}, "Slot range"),
        ({"shards": [{"name": "a", "slots": [[5, 1]]}]}, "Slot range"),
        ({"shards": [{"name": "a", "slots": None}]}, "not a list of"),
        (
            {"shards": [{"name": n, "slots": [[0, 16383]]} for n in ("a", "b")]},
            "overlap",
        ),
        ({"shards": [{"name": "a", "slots": [[0, 16383]]}] * 2}, "given twice"),
    ],
)
def test_a_broken_placement_says_what_is_wrong(change: dict[str, object], message: str) -> None:
    document = {"strategy": "slots", "shards": [{"name": "a", "slots": [[0, 16383]]}], **change}
    with pytest.raises(InvalidDocumentError, match=message):
        Placement.from_dict(document)


def test_keys_of_every_form_redis_py_takes() -> None:
    placement = SlotsPlacement.even(shards_of([1, 1]))
    assert placement.shard_for("käse") == placement.shard_for("käse".encode())
    assert key_bytes(12) == b"12"
    assert key_bytes(1.5) == b"1.5"
    assert key_bytes(bytearray(b"a")) == key_bytes(memoryview(b"a")) == b"a"
    for bad in (None, True, ["a"], {"a"}):
        with pytest.raises(InvalidKeyError, match="Invalid key of type"):
            key_bytes(bad)


def test_a_key_longer_than_redis_takes_is_refused() -> None:
    with pytest.raises(InvalidKeyError, match="536,870,913 bytes"):
        key_bytes(bytes(MAX_KEY_BYTES + 1))
