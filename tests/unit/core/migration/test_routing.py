"""Where a command goes during a change of the placement: the same for all who read one document."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachemesh.core.migration.phase import Migration, PhaseName
from cachemesh.core.migration.routing import (
    MigratingPlacement,
    leaving,
    sources_now,
    targets_now,
)
from cachemesh.core.migration.settled import SettledKeys
from cachemesh.core.migration.stages import Stages, stages
from cachemesh.core.placement import Placement, Shard, SlotsPlacement
from cachemesh.core.placement.route_table import RouteTable
from cachemesh.core.planning.pipeline import plan_batch
from cachemesh.core.planning.plan import plan
from cachemesh.core.planning.subscriptions import Subscriptions
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.rerouting import KeyHeldError, KeyMovingError, Pair

NAMES = ("a", "b", "c")
FIELDS: tuple[dict[str, Any], ...] = (
    {"strategy": "ketama"},
    {"strategy": "modula", "hash": "crc32", "hash_tag": "{}"},
    {"strategy": "jedis", "hash_tag": "{}"},
)


def hashed(fields: dict[str, Any], names: Iterable[str]) -> Placement:
    shards = [{"name": name, "weight": 1} for name in names]
    return Placement.from_dict({**fields, "shards": shards})


def placements() -> list[Placement]:
    """Return placements of each strategy, over two shards and over three."""
    made = [hashed(fields, names) for names in (NAMES[:2], NAMES) for fields in FIELDS]
    two = SlotsPlacement.even([Shard(name) for name in NAMES[:2]])
    return [*made, two, two.with_shards([Shard(name) for name in NAMES])]


PLACEMENTS = placements()


@dataclass(frozen=True)
class Change:
    """A change of placement whose keys are moved."""

    before: Placement
    after: Placement

    @cached_property
    def stages(self) -> Stages:
        return stages(self.before, self.after)

    def migration(
        self,
        phase: PhaseName,
        stage: int = 0,
        *,
        back: bool = False,
        done: Collection[str] = (),
        replicas: int = 0,
    ) -> Migration:
        told = dict.fromkeys(self.after.names, replicas) if replicas else {}
        return Migration(
            phase, self.after, True, stage, self.stages.count, back, frozenset(done), told
        )

    def migrations(self) -> Iterator[Migration]:
        """Return one of each phase, stage and direction."""
        phases: tuple[PhaseName, ...] = ("prepare", "move")
        for phase, stage, back in product(phases, range(self.stages.count), (False, True)):
            yield self.migration(phase, stage, back=back)


_TWO, _THREE = PLACEMENTS[-2:]
_WEIGHED = _THREE.with_shards([Shard("a", 5), Shard("b", 1), Shard("c", 2)])
CHANGES = {
    "a shard of slots is added": Change(_TWO, _THREE),
    "one is removed": Change(_THREE, _THREE.with_shards([Shard("c"), Shard("a")])),
    "weights": Change(_THREE, _WEIGHED),
    "a shard of modula is added": Change(hashed(FIELDS[1], "ab"), hashed(FIELDS[1], "bca")),
    "one of jedis is added": Change(hashed(FIELDS[2], "ab"), hashed(FIELDS[2], "abc")),
    "ketama to modula": Change(hashed(FIELDS[0], "abc"), hashed(FIELDS[1], "cad")),
    "slots to ketama": Change(_TWO, hashed(FIELDS[0], "ab")),
}
STAGES_OF = dict(zip(CHANGES, (1, 1, 1, 2, 1, 2, 2), strict=True))
SAMPLE = [b"key:%d" % number for number in range(300)]
keys_of_apps = st.sampled_from(SAMPLE) | st.binary(max_size=12) | st.just(b"{tag}x")
some_keys = st.lists(keys_of_apps, min_size=1, max_size=8)

each_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())


def place(
    change: Change, migration: Migration, settled: Collection[bytes], key: bytes
) -> str | Pair | None:
    """Return the shard to ask for a key, the two between which to pull it first, or None: hold."""
    source, target = change.before.owner(key), change.after.owner(key)
    if source == target:
        return source
    stage = change.stages.of(source, target)
    if stage != migration.stage:
        return target if stage < migration.stage else source
    if migration.phase == "prepare":
        return None
    source, target = (target, source) if migration.back else (source, target)
    return target if source in migration.done or key in settled else (source, target)


def moving_by_pair(
    change: Change, migration: Migration, settled: Collection[bytes], keys: Iterable[bytes]
) -> dict[Pair, list[bytes]]:
    found: dict[Pair, list[bytes]] = {}
    for key in keys:
        at = place(change, migration, settled, key)
        if isinstance(at, tuple):
            found.setdefault(at, []).append(key)
    return found


def routed(change: Change, migration: Migration, settled: Container[bytes] = ()) -> Placement:
    return MigratingPlacement(change.before, migration, settled)


def test_a_split_call_is_held_on_a_pool_of_one_shard_too() -> None:
    one = SlotsPlacement.even([Shard("a")])
    after = one.with_shards([Shard("a"), Shard("b")])
    call = ("MGET", *(f"key-{number}" for number in range(32)))
    with pytest.raises(KeyHeldError):
        plan(call, MigratingPlacement(one, Migration("prepare", after)))
    with pytest.raises(KeyHeldError):
        plan(call, MigratingPlacement(one, Migration("prepare", after, moves=True)))


@pytest.mark.parametrize(("before", "after"), list(product(PLACEMENTS, PLACEMENTS)))
@given(keys=st.lists(st.binary(max_size=12) | st.just(b"{tag}x"), min_size=1, max_size=6))
@settings(deadline=None, max_examples=3)
def test_a_key_is_held_if_and_only_if_it_moves(
    before: Placement, after: Placement, keys: list[bytes]
) -> None:
    holding = MigratingPlacement(before, Migration("prepare", after))
    route_table = RouteTable(holding, {name: [name] for name in before.names})
    moving = [key for key in keys if before.owner(key) != after.owner(key)]
    for key in keys:
        if key in moving:
            for find in (holding.owner, route_table.find):
                with pytest.raises(KeyHeldError):
                    find(key)
        else:
            assert holding.owner(key) == before.owner(key)
            assert route_table.find(key) == [before.owner(key)]
    if moving:
        with pytest.raises(KeyHeldError):
            holding.owners(keys)
    else:
        assert holding.owners(keys) == before.owners(keys)
    assert holding.to_dict() == before.to_dict() and holding.names == before.names
    assert not holding.in_order


@pytest.mark.parametrize("name", CHANGES)
def test_the_changes_have_as_many_stages_as_they_stand_for(name: str) -> None:
    assert CHANGES[name].stages.count == STAGES_OF[name]


@each_change
@given(data=st.data(), keys=some_keys)
def test_all_ways_to_find_a_shard_agree(change: Change, data: st.DataObject, keys: Any) -> None:
    migration = data.draw(st.sampled_from(list(change.migrations())))
    names = sorted({*change.before.names, *change.after.names})
    if migration.phase == "move":
        done = data.draw(st.sets(st.sampled_from(names)))
        migration = change.migration("move", migration.stage, back=migration.back, done=done)
    settled = data.draw(st.sets(st.sampled_from(keys)))
    moving = routed(change, migration, settled)
    # As the client has it: shards of all names, also of those that gain no keys before Q.
    route_table = RouteTable(moving, {name: [name] for name in names})
    expected = [place(change, migration, settled, key) for key in keys]
    for key, at in zip(keys, expected, strict=True):
        for find in (moving.owner, route_table.find):
            if at is None:
                with pytest.raises(KeyHeldError):
                    find(key)
            elif isinstance(at, tuple):
                with pytest.raises(KeyMovingError) as caught:
                    find(key)
                assert (caught.value.keys, caught.value.stage) == ({at: [key]}, settled)
                assert caught.value.stage is settled
            else:
                assert find(key) == (at if find == moving.owner else [at])
    by_pair = moving_by_pair(change, migration, settled, keys)
    if None in expected:
        with pytest.raises(KeyHeldError):
            moving.owners(keys)
    elif by_pair:
        with pytest.raises(KeyMovingError) as caught:
            moving.owners(keys)
        assert caught.value.keys == by_pair
        assert caught.value.stage is settled
    else:
        assert moving.owners(keys) == expected


@each_change
def test_keys_of_each_kind_are_among_the_sample(change: Change) -> None:
    for migration in change.migrations():
        kinds = {type(place(change, migration, (), key)) for key in SAMPLE}
        assert kinds >= {type(None) if migration.phase == "prepare" else tuple}


@each_change
def test_a_key_goes_to_the_target_once_it_is_settled_or_its_source_has_none_left(
    change: Change,
) -> None:
    for migration in change.migrations():
        if migration.phase == "prepare":
            continue
        moving = moving_by_pair(change, migration, (), SAMPLE)
        settled = SettledKeys()
        by_client = routed(change, migration, settled)
        for pair, keys in moving.items():
            with pytest.raises(KeyMovingError):
                by_client.owners(keys)
            settled.add(keys)
            assert set(by_client.owners(keys)) == {pair[1]}
        for source in {source for source, _ in moving}:
            done = change.migration("move", migration.stage, back=migration.back, done={source})
            by_all = routed(change, done)
            for pair, keys in moving.items():
                for key in keys:
                    assert (pair[0] == source) == (_owner_or_none(by_all, key) == pair[1])


def _owner_or_none(placement: Placement, key: bytes) -> str | None:
    try:
        return placement.owner(key)
    except KeyMovingError:
        return None


@each_change
def test_the_leader_moves_the_keys_that_clients_pull(change: Change) -> None:
    for migration in change.migrations():
        sources = sources_now(change.before, migration)
        as_moved = change.migration("move", migration.stage, back=migration.back)
        places = {key: place(change, as_moved, (), key) for key in SAMPLE}
        moving = {key: at for key, at in places.items() if isinstance(at, tuple)}
        found = pairs(change.before, migration, SAMPLE)
        assert found == moving
        assert {source for source, _ in moving.values()} <= set(sources)
        assert list(sources) == sorted(sources)
        for source, target in moving.values():
            assert target in targets_now(change.before, migration, source)


def pairs(before: Placement, migration: Migration, keys: Sequence[bytes]) -> dict[bytes, Any]:
    """Return the shards that keys move between, as the leader finds them at each shard."""
    names = {*before.names, *migration.placement.names}
    return {
        key: (name, target)
        for name in names
        for key, target in leaving(before, migration, name)(keys)
    }


@pytest.mark.parametrize("name", [name for name in CHANGES if " to " not in name])
def test_where_it_can_be_told_no_other_shard_counts_as_a_source_or_target(name: str) -> None:
    change = CHANGES[name]
    many = [b"%d" % number for number in range(3000)]
    for migration in change.migrations():
        found = set(pairs(change.before, migration, many).values())
        assert set(sources_now(change.before, migration)) == {source for source, _ in found}
        for shard in {*change.before.names, *change.after.names}:
            gains = targets_now(change.before, migration, shard)
            assert list(gains) == sorted(target for source, target in found if source == shard)


@each_change
def test_sources_stand_before_their_targets_once_keys_may_have_moved(change: Change) -> None:
    for migration in change.migrations():
        moving = routed(change, migration)
        assert moving.in_order == migration.begun
        if not migration.begun:
            assert moving.shards == change.before.shards
            continue
        assert sorted(moving.names) == sorted({*change.before.names, *change.after.names})
        at = {name: number for number, name in enumerate(moving.names)}
        # While the way back is prepared, other clients go on forward.
        back = migration.back and migration.phase == "move"
        now = change.migration("move", migration.stage, back=back)
        for source, target in moving_by_pair(change, now, (), SAMPLE):
            assert at[source] < at[target]


def document(placement: Placement, migration: Migration | None = None) -> PoolDocument:
    told = None if migration is None else migration.to_dict()
    return PoolDocument("cache", 1, placement, told)


def test_a_document_names_all_shards_that_may_have_keys() -> None:
    before, after = _TWO, _THREE.with_shards([Shard("b"), Shard("c")])
    change = Change(before, after)
    assert document(before).shard_names == ("a", "b")
    assert document(before, Migration("prepare", after)).shard_names == ("a", "b")
    for migration in change.migrations():
        assert document(before, migration).shard_names == ("a", "b", "c")
    later = {"phase": "of a later release", "strategy": "move", "placement": after.to_dict()}
    assert PoolDocument("cache", 1, before, later).shard_names == ("a", "b")


@each_change
def test_a_channel_is_listened_to_at_both_its_shards(change: Change) -> None:
    held = MigratingPlacement(change.before, Migration("prepare", change.after))
    moving = [routed(change, migration) for migration in change.migrations()]
    for key in SAMPLE:
        source, target = change.before.owner(key), change.after.owner(key)
        both = (source,) if source == target else (source, target)
        assert change.before.channel_owners(key) == (source,)
        assert held.channel_owners(key) == (source,)
        assert {each.channel_owners(key) for each in moving} == {both}


@each_change
def test_who_subscribes_listens_at_both_shards(change: Change) -> None:
    wanted = Subscriptions(dict.fromkeys(SAMPLE), {b"*": None}, dict.fromkeys(SAMPLE))
    for migration in change.migrations():
        moving = routed(change, migration)
        for shard in {*change.before.names, *change.after.names}:
            there = [key for key in SAMPLE if shard in moving.channel_owners(key)]
            found = wanted.on_shard(shard, moving)
            assert list(found.channels) == list(found.shard_channels) == there
            assert list(found.patterns) == [b"*"]


@each_change
def test_a_message_goes_to_one_shard_until_all_keys_have_moved(change: Change) -> None:
    for migration in change.migrations():
        moving = routed(change, migration)
        for key in SAMPLE[:30]:
            (sent,) = plan(("PUBLISH", key, "x"), moving).sub_requests
            assert sent.shard == change.before.owner(key)


def cursor_of(placement: Placement) -> Any:
    """Return a cursor with which a scan is within its first shard."""
    (reply, _) = plan(("SCAN", 0), placement).merge([[b"5", []]])
    return reply


def goes_on(cursor: Any, placement: Placement) -> bool:
    (request,) = plan(("SCAN", cursor), placement).sub_requests
    assert request.shard == placement.names[0]
    assert request.args[1] in (0, 5)
    return bool(request.args[1])


@each_change
def test_a_scan_begins_again_when_other_keys_begin_to_move(change: Change) -> None:
    before, last = change.before, change.stages.count - 1
    prepared, moving = change.migration("prepare"), change.migration("move")
    assert goes_on(cursor_of(before), routed(change, prepared))
    assert goes_on(cursor_of(routed(change, prepared)), before), "stepped back"
    assert not goes_on(cursor_of(routed(change, prepared)), routed(change, moving))
    for back in (False, True):
        for stage in range(change.stages.count):
            at_first = routed(change, change.migration("move", stage, back=back))
            done = change.migration("move", stage, back=back, done=NAMES, replicas=1)
            assert goes_on(cursor_of(at_first), routed(change, done))
            if stage != last:
                following = routed(change, change.migration("prepare", stage + 1, back=back))
                assert not goes_on(cursor_of(at_first), following)
                assert not goes_on(cursor_of(following), at_first)
            if not back:
                turned = routed(change, change.migration("prepare", stage, back=True))
                returning = routed(change, change.migration("move", stage, back=True))
                assert goes_on(cursor_of(at_first), turned)
                assert not goes_on(cursor_of(turned), returning)
    assert not goes_on(cursor_of(routed(change, change.migration("move", last))), change.after)
    assert not goes_on(cursor_of(routed(change, change.migration("move", back=True))), before)


@each_change
def test_keys_are_listed_once_while_they_may_be_at_two_shards(change: Change) -> None:
    for migration in change.migrations():
        moving = routed(change, migration)
        planned = plan(("KEYS", "*"), moving)
        assert tuple(request.shard for request in planned.sub_requests) == moving.names
        listed: list[list[bytes]] = [[b"x", b"y"], [b"y", b"z"]]
        replies = [*listed, *([[]] * (len(moving.names) - 2))]
        once = [b"x", b"y", b"z"] if migration.begun else [b"x", b"y", b"y", b"z"]
        assert planned.merge(replies) == once


@each_change
@given(data=st.data(), keys=st.lists(keys_of_apps, min_size=5, max_size=8))
def test_a_pipeline_tells_the_moving_keys_of_all_its_commands(
    change: Change, data: st.DataObject, keys: list[bytes]
) -> None:
    migration = data.draw(
        st.sampled_from([each for each in change.migrations() if each.phase == "move"])
    )
    settled = data.draw(st.sets(st.sampled_from(keys)))
    moving = routed(change, migration, settled)
    gets: list[tuple[Any, ...]] = [("GET", key) for key in keys]
    mixed = [
        gets[0],
        ("MGET", *keys[1:3]),
        ("PING",),
        ("SET", keys[3], "x"),
        ("DEL", *keys[4:]),
    ]
    by_pair = moving_by_pair(change, migration, settled, keys)
    for commands in (gets, mixed):
        if by_pair:
            with pytest.raises(KeyMovingError) as caught:
                plan_batch(commands, moving)
            assert caught.value.keys == by_pair
            assert caught.value.stage is settled
        else:
            batch = plan_batch(commands, moving)
            expected = [place(change, migration, settled, key) for key in keys]
            assert batch.homes[0] == expected[0]
            if commands is gets:
                assert batch.homes == expected


@each_change
def test_a_pipeline_with_a_held_key_is_held(change: Change) -> None:
    for migration in change.migrations():
        if migration.phase == "prepare":
            held = next(key for key in SAMPLE if place(change, migration, (), key) is None)
            free = [key for key in SAMPLE if place(change, migration, (), key) is not None]
            for commands in ([("GET", held)], [("PING",), ("GET", free[0]), ("GET", held)]):
                with pytest.raises(KeyHeldError):
                    plan_batch(commands, routed(change, migration))


@each_change
def test_the_same_keys_move_as_long_as_a_stage_goes_on(change: Change) -> None:
    found = list(change.migrations())
    for one, other in product(found, found):
        moving = MigratingPlacement(change.before, one)
        same = (one.stage, one.back) == (other.stage, other.back)
        assert moving.goes_on(change.before, other) == same
        elsewhere = change.after.with_shards([Shard("z")])
        assert not moving.goes_on(elsewhere, other)
        dropped = Migration("prepare", change.after)
        assert not moving.goes_on(change.before, dropped)
