"""Strategies ketama, modula and jedis: rings, residues, hash tags, shares, moves, documents."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.placement import (
    JedisPlacement,
    KetamaPlacement,
    ModulaPlacement,
    Placement,
    Shard,
    SlotsPlacement,
    hash_functions,
    moves,
)
from cachemesh.core.placement.ring import Ring, RingPlacement
from cachemesh.core.placement.route_table import RouteTable
from cachemesh.core.placement.twemproxy import digest_count

HASHES = {
    "ketama": hash_functions.TWEMPROXY,
    "modula": hash_functions.TWEMPROXY,
    "jedis": hash_functions.JEDIS,
}


def placement_of(strategy: str, *weights: int, **fields: Any) -> Placement:
    shards = [{"name": f"cache-{i}", "weight": weight} for i, weight in enumerate(weights)]
    return Placement.from_dict({"strategy": strategy, "shards": shards, **fields})


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    strategy = draw(st.sampled_from(sorted(HASHES)))
    names = draw(st.lists(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), min_size=1, unique=True))
    document = {
        "strategy": strategy,
        "hash": draw(st.sampled_from(sorted(HASHES[strategy]))),
        "hash_tag": draw(st.sampled_from([None, "{}", "<>", "$$"])),
        "from tomorrow": draw(st.integers()),
        "shards": [
            {"name": name, "weight": draw(st.integers(1, 5)), "zone": draw(st.text(max_size=3))}
            for name in names[:8]
        ],
    }
    if strategy == "jedis":
        document["named"] = draw(st.booleans())
    return document


keys = st.lists(st.binary(max_size=30), min_size=1, max_size=30)


@given(documents(), keys)
@settings(deadline=None)
def test_documents_and_their_unknown_fields_round_trip(
    document: dict[str, Any], some: list[bytes]
) -> None:
    placement = Placement.from_dict(json.loads(json.dumps(document)))
    assert placement.to_dict() == document
    assert placement == Placement.from_dict(document)
    assert placement.strategy == document["strategy"]
    route_table = RouteTable(placement, {name: [name] for name in placement.names})
    for key in some:
        owner = placement.owner(key)
        assert owner in placement.names
        assert route_table.find(key) == [owner]
        assert placement.shard_for(key) == owner


@given(documents())
@settings(deadline=None)
def test_shares_add_up_to_one(document: dict[str, Any]) -> None:
    placement = Placement.from_dict(document)
    assert sum(placement.share(name) for name in placement.names) == pytest.approx(1.0)
    with pytest.raises(KeyError):
        placement.share("nobody")


@given(documents(), st.data())
@settings(deadline=None)
def test_other_shards_keep_the_rest_of_the_document(document: dict[str, Any], data: Any) -> None:
    before = Placement.from_dict(document)
    kept = data.draw(st.lists(st.sampled_from(before.shards), min_size=1, unique=True))
    after = before.with_shards([*kept, Shard("new-one", 2)])
    assert isinstance(after, type(before))
    entries = {entry["name"]: entry for entry in document["shards"]}
    expected = [entries[shard.name] for shard in kept] + [{"name": "new-one", "weight": 2}]
    assert after.to_dict() == {**document, "shards": expected}


points = st.dictionaries(st.integers(0, 40), st.integers(0, 3), min_size=1, max_size=20)


@given(points, points, st.integers(1, 45))
def test_a_ring_owns_what_a_walk_finds(
    first: dict[int, int], second: dict[int, int], span: int
) -> None:
    def walk(owner_of: dict[int, int], value: int) -> int:
        return next((o for point, o in sorted(owner_of.items()) if point >= value), least(owner_of))

    def least(owner_of: dict[int, int]) -> int:
        return owner_of[min(owner_of)]

    ring, other = Ring(first, span), Ring(second, span)
    walked = [walk(first, value) for value in range(span)]
    assert [ring.owners[bisect_left(ring.points, value)] for value in range(span)] == walked
    assert ring.counts == Counter(walked)
    assert list(ring.arcs())[-1][0] == span - 1
    pairs = Counter(zip(walked, (walk(second, value) for value in range(span)), strict=True))
    assert ring.overlap(other) == pairs


@pytest.mark.parametrize("strategy", ["ketama", "jedis"])
def test_a_shard_gets_about_its_weight_of_a_ring_and_takes_only_that(strategy: str) -> None:
    before = placement_of(strategy, 1, 2, 1)
    assert isinstance(before, RingPlacement)
    assert before.share("cache-1") == pytest.approx(0.5, abs=0.1)
    after = before.with_shards([*before.shards, Shard("cache-3")])
    moved = moves(before, after)
    assert moved.share == pytest.approx(0.2, abs=0.1)
    assert (moved.slots, moved.sampled) == (0, False)
    assert sum(move.share for move in moved.by_pair) == pytest.approx(moved.share)
    if strategy == "jedis":
        assert {move.target for move in moved.by_pair} == {"cache-3"}
        assert moved.share == pytest.approx(after.share("cache-3"))


@given(documents(), st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_exact_moves_are_those_that_keys_make(document: dict[str, Any], weight: int) -> None:
    document["hash"] = "md5"
    before = Placement.from_dict(document)
    after = before.with_shards([*before.shards[1:], Shard("new-one", weight)])
    exact = moves(before, after)
    assert not exact.sampled
    tried = [b"%d" % i for i in range(1000)]
    found = Counter((before.owner(key), after.owner(key)) for key in tried)
    moved = {pair: n for pair, n in found.items() if pair[0] != pair[1]}
    assert sum(moved.values()) / 1000 == pytest.approx(exact.share, abs=0.1)
    assert moved.keys() <= {(move.source, move.target) for move in exact.by_pair}
    for name in before.names:
        lost = sum(move.share for move in exact.by_pair if move.source == name)
        won = sum(move.share for move in exact.by_pair if move.target == name)
        kept = after.share(name) if name in after.names else 0.0
        assert before.share(name) - lost + won == pytest.approx(kept)


def test_moves_by_residue_are_counted() -> None:
    moved = moves(placement_of("modula", 1, 1, 1, 1), placement_of("modula", 1, 1, 1, 1, 1))
    assert moved.share == pytest.approx(0.8)
    assert not moved.sampled


@pytest.mark.parametrize("after", [250, 251])
def test_moves_by_residue_are_exact_where_the_hash_has_few_values(after: int) -> None:
    moved = moves(
        placement_of("modula", *[1] * 150, hash="crc32"),
        placement_of("modula", *[1] * after, hash="crc32"),
    )
    kept = sum(value % 150 == value % after for value in range(2**15))
    assert not moved.sampled
    assert sum(round(move.share * 2**15) for move in moved.by_pair) == 2**15 - kept


def test_moves_that_nothing_exact_can_be_said_of_are_sampled() -> None:
    slots = SlotsPlacement.even([Shard("cache-0"), Shard("cache-1")])
    halves = moves(slots, placement_of("ketama", 1, 1))
    assert halves.sampled
    assert halves.slots == 0
    assert halves.share == pytest.approx(0.5, abs=0.1)
    assert moves(slots, placement_of("ketama", 1, 1)) == halves
    assert moves(placement_of("jedis", 1), placement_of("ketama", 1)).share == 0
    many = moves(placement_of("modula", *[997] * 9), placement_of("modula", *[991] * 9))
    assert many.sampled


def test_slots_and_rings_are_not_equal() -> None:
    assert placement_of("ketama", 1, 1) != placement_of("modula", 1, 1)
    assert placement_of("ketama", 1, 1) != SlotsPlacement.even([Shard("cache-0")])
    assert placement_of("ketama", 1, 1) != "ketama"
    assert hash(placement_of("jedis", 1, 2)) == hash(placement_of("jedis", 1, 2))
    assert "jedis" in repr(placement_of("jedis", 1)).lower()


@pytest.mark.parametrize(
    ("weights", "counts"),
    [
        ([1] * 24, {40}),
        ([1] * 25, {39}),
        ([1, 2, 1, 3], {22, 45, 68}),
        ([1, 1000, 1], {0, 119}),
    ],
)
def test_digests_by_weight_in_single_precision(weights: list[int], counts: set[int]) -> None:
    found = {digest_count(weight, sum(weights), len(weights)) for weight in weights}
    assert found == counts


def test_a_shard_without_points_owns_nothing() -> None:
    placement = placement_of("ketama", 1, 1000, 1)
    assert placement.share("cache-0") == 0
    assert {placement.shard_for(f"key:{i}") for i in range(100)} == {"cache-1"}


@pytest.mark.parametrize("strategy", ["ketama", "modula"])
def test_twemproxy_sorts_its_servers(strategy: str) -> None:
    names = ["cache-10", "b", "cache-2", "a"]
    shards = [{"name": name, "weight": i + 1} for i, name in enumerate(names)]
    one = Placement.from_dict({"strategy": strategy, "shards": shards})
    other = Placement.from_dict({"strategy": strategy, "shards": shards[::-1]})
    owners = [one.shard_for(f"key:{i}") for i in range(200)]
    assert owners == [other.shard_for(f"key:{i}") for i in range(200)]
    assert one.names == tuple(names)
    for name in names:
        assert one.share(name) == other.share(name)
    if strategy == "modula":
        in_order = ["a"] * 4 + ["b"] * 2 + ["cache-2"] * 3 + ["cache-10"]
        digest = hash_functions.twemproxy_fnv1a_64
        assert owners == [in_order[digest(b"key:%d" % i) % 10] for i in range(200)]


def test_a_label_is_hashed_in_place_of_the_name() -> None:
    entry = {"name": "cache-0", "weight": 1, "label": "10.0.0.1:6379"}
    other = {"name": "cache-1", "weight": 1, "label": "10.0.0.2:6379"}
    for strategy in HASHES:
        labelled = Placement.from_dict({"strategy": strategy, "shards": [entry, other]})
        plain = placement_of(strategy, 1, 1)
        assert labelled.to_dict()["shards"] == [entry, other]
        if strategy == "modula":  # only the order of the labels counts
            assert labelled.shard_for("key") == plain.shard_for("key")
        else:
            assert labelled.share("cache-0") != plain.share("cache-0")
        heavier = labelled.with_shards([Shard("cache-0", 5), Shard("cache-1")])
        assert heavier.to_dict()["shards"] == [{**entry, "weight": 5}, other]


def test_shards_without_names_are_known_by_their_place() -> None:
    places = placement_of("jedis", 1, 1, named=False)
    assert isinstance(places, JedisPlacement)
    renamed = Placement.from_dict(
        {"strategy": "jedis", "named": False, "shards": [{"name": "x"}, {"name": "y"}]}
    )
    new_name = {"cache-0": "x", "cache-1": "y"}
    for i in range(100):
        assert renamed.shard_for(f"{i}") == new_name[places.shard_for(f"{i}")]


PIECES = ["{", "}", "{}", "ab", "é", "中", "\n", "\r", "\u0085", "\u2028", "\u2029", "\u2027"]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_jedis_key_tags_are_those_of_its_regular_expression(key: str) -> None:
    dot = "[^\n\r\u0085\u2028\u2029]"  # Java's
    found = re.search(r"\{(" + dot + r"+?)\}", key)
    tag = key if found is None else found[1]
    hash_of_tag = placement_of("jedis", 1, hash_tag="{}")
    assert isinstance(hash_of_tag, JedisPlacement)
    assert hash_of_tag.digest(key.encode()) == hash_functions.murmur64a(tag.encode())


@pytest.mark.parametrize(
    ("key", "twemproxy", "jedis"),
    [
        (b"{user:1}:a", b"user:1", b"user:1"),
        (b"a{{b}}c", b"{b", b"{b"),
        (b"x{}y", b"x{}y", b"x{}y"),
        (b"x{}y}z", b"x{}y}z", b"}y"),
        (b"{}{a}", b"{}{a}", b"}{a"),
        (b"}a{b}", b"b", b"b"),
        (b"{a", b"{a", b"{a"),
        (b"{a\n}{b}", b"a\n", b"b"),
    ],
)
def test_hash_tags(key: bytes, twemproxy: bytes, jedis: bytes) -> None:
    for strategy, hashed in (("ketama", twemproxy), ("modula", twemproxy), ("jedis", jedis)):
        placement = placement_of(strategy, 1, 1, hash_tag="{}", hash="md5")
        assert isinstance(placement, (KetamaPlacement, ModulaPlacement, JedisPlacement))
        assert placement.digest(key) == hash_functions.md5_word(hashed)
        whole = placement_of(strategy, 1, 1, hash_tag=None, hash="md5")
        assert isinstance(whole, type(placement))
        assert whole.digest(key) == hash_functions.md5_word(key)


@pytest.mark.parametrize("strategy", sorted(HASHES))
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hash": "sha1"}, r"placement.hash 'sha1' is not one .*: .*md5"),
        ({"hash": ["md5"]}, "placement.hash"),
        ({"hash_tag": ""}, "placement.hash_tag"),
        ({"hash_tag": "{"}, "placement.hash_tag"),
        ({"hash_tag": "{}}"}, "placement.hash_tag"),
        ({"hash_tag": "«»"}, "placement.hash_tag"),
        ({"hash_tag": "\n\n"}, "placement.hash_tag"),
        ({"hash_tag": False}, "placement.hash_tag"),
        ({"shards": []}, "at least one shard"),
        ({"shards": {"a": 1}}, "not a list"),
        ({"shards": [3]}, "not an object"),
        ({"shards": [{"name": "a"}] * 2}, "given twice"),
        ({"shards": [{"name": "a", "weight": 0}]}, "Weight"),
        ({"shards": [{"name": "a", "label": ""}]}, "label '' of shard 'a'"),
        ({"shards": [{"name": "a", "label": 7}]}, "label 7 of shard 'a'"),
        ({"shards": [{"name": "a", "label": "\ud800"}]}, "label .* of shard 'a'"),
        ({"shards": [{"name": "a", "label": "é" * 40}]}, "longer than 79 bytes"),
        ({"shards": [{"name": "a", "label": "b"}, {"name": "b"}]}, "the same label 'b'"),
    ],
)
def test_a_broken_placement_says_what_is_wrong(
    strategy: str, change: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidDocumentError, match=message):
        placement_of(strategy, 1, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"named": "yes"}, "placement.named is 'yes'"),
        ({"named": False, "shards": [{"name": "a", "label": "b"}]}, "placement.named is false"),
        ({"shards": [{"name": f"s{i}", "weight": 1000} for i in range(11)]}, "add up to 11,000"),
    ],
)
def test_a_broken_jedis_placement_says_what_is_wrong(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidDocumentError, match=message):
        placement_of("jedis", 1, **change)


def test_a_target_for_every_shard_is_needed() -> None:
    for placement in (
        *(placement_of(strategy, 1, 1) for strategy in HASHES),
        SlotsPlacement.even([Shard("cache-0"), Shard("cache-1")]),
    ):
        with pytest.raises(KeyError, match="cache-1"):
            RouteTable(placement, {"cache-0": 0})


def weighed(strategy: str, weights: list[int]) -> Placement:
    shards = [Shard(f"s{i}", weight) for i, weight in enumerate(weights)]
    even: Placement = SlotsPlacement.even(shards)
    if strategy == "slots":
        return even
    fields = {"strategy": strategy, "shards": [vars(shard) for shard in shards]}
    return Placement.from_dict(fields)


@given(
    strategies=st.tuples(*[st.sampled_from(["slots", "ketama", "modula"])] * 2),
    weights=st.tuples(*[st.lists(st.integers(1, 5), min_size=1, max_size=4)] * 2),
    keys=st.lists(st.binary(max_size=12) | st.sampled_from([b"{a}1", b"{}b", b"{c"]), max_size=30),
)
def test_keys_with_another_owner_are_told_with_both(
    strategies: tuple[str, str], weights: tuple[list[int], list[int]], keys: list[bytes]
) -> None:
    before, after = (weighed(s, w) for s, w in zip(strategies, weights, strict=True))
    expected = [
        (key, before.owner(key), after.owner(key))
        for key in keys
        if before.owner(key) != after.owner(key)
    ]
    assert before.changed(after)(keys) == expected


@given(
    weights=st.tuples(*[st.lists(st.integers(1, 3), min_size=1, max_size=3)] * 2),
    fields=st.tuples(*[st.sampled_from([{}, {"note": 1}])] * 2),
    of_shard=st.tuples(*[st.sampled_from([{}, {"zone": "a"}])] * 2),
)
def test_placements_with_slots_are_equal_as_their_documents_are(
    weights: tuple[list[int], list[int]],
    fields: tuple[dict[str, object], ...],
    of_shard: tuple[dict[str, object], ...],
) -> None:
    found = []
    for each, more, own in zip(weights, fields, of_shard, strict=True):
        document: Any = weighed("slots", each).to_dict()
        document["shards"][0] |= own
        found.append(Placement.from_dict({**document, **more}))
    one, other = found
    assert (one == other) is (one.to_dict() == other.to_dict())
    assert one != other or hash(one) == hash(other)
    assert one == Placement.from_dict(one.to_dict())
    assert weighed("slots", weights[0]) == Placement.from_dict(
        weighed("slots", weights[0]).to_dict()
    )
