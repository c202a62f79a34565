"""Nothing is under way where a key is no more, whichever document a client acts on next.

A client may miss any number of documents. What it does with a key by one of them, at the shard that
it asks and at the one that it pulls from, may go on by another only if that asks the same shard,
and pulls from no other. Else each of these shards is to be retired.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pytest

from cachemesh.core.migration.phase import Migration, PhaseName
from cachemesh.core.migration.routing import MigratingPlacement, sources_now
from cachemesh.core.migration.stages import stages
from cachemesh.core.placement import Placement, Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.in_flight import in_flight, involved
from cachemesh.core.rerouting import KeyHeldError, KeyMovingError


@dataclass(frozen=True)
class Way:
    """What a client does with a key: it asks a shard, once it has pulled the key from another."""

    asks: str
    pulls_from: str | None = None

    @property
    def shards(self) -> set[str]:
        return {self.asks} if self.pulls_from is None else {self.asks, self.pulls_from}

    def may_go_on(self, after: Way | None) -> bool:
        if after is None:
            return False
        return after.asks == self.asks and after.pulls_from in (None, self.pulls_from)


@dataclass(frozen=True)
class Read:
    """A document that a client acts on, and what it does by it with each key; None: it waits."""

    name: str
    document: PoolDocument

    @property
    def migration(self) -> Migration:
        assert self.document.migrating is not None
        return self.document.migrating

    def way(self, key: bytes) -> Way | None:
        try:
            return Way(self._placement.owner(key))
        except KeyHeldError:
            return None
        except KeyMovingError as error:
            ((source, target),) = error.keys
            return Way(target, source)

    @cached_property
    def _placement(self) -> Placement:
        migrating, before = self.document.migrating, self.document.placement
        return before if migrating is None else MigratingPlacement(before, migrating)


@dataclass(frozen=True)
class Line:
    """All documents of the move from one placement to another, and of its way back."""

    before: Placement
    after: Placement

    @cached_property
    def stages(self) -> int:
        return max(1, stages(self.before, self.after).count)

    def stable(self) -> tuple[Read, Read]:
        return _read("P", self.before), _read("Q", self.after)

    def phase(
        self, phase: PhaseName, stage: int, *, back: bool = False, done: Iterable[str] = ()
    ) -> Read:
        shards = frozenset(done)
        migration = Migration(phase, self.after, True, stage, self.stages, back, shards)
        way = " back" if back else ""
        left = f" but for {sorted(shards)}" if shards else ""
        return _read(f"{phase}{way} {stage}{left}", self.before, migration)

    def moves(self, stage: int, *, back: bool = False) -> list[Read]:
        """Return the documents of a stage in which keys move, in their order."""
        none = self.phase("move", stage, back=back)
        sources = sources_now(self.before, none.migration)
        return [none, *(self.phase("move", stage, back=back, done=done) for done in _more(sources))]

    def __iter__(self) -> Iterator[Read]:
        yield from self.stable()
        for stage in range(self.stages):
            for back in (False, True):
                yield self.phase("prepare", stage, back=back)
                yield from self.moves(stage, back=back)


def _read(name: str, placement: Placement, migration: Migration | None = None) -> Read:
    told = None if migration is None else migration.to_dict()
    return Read(name, PoolDocument("cache", 1, placement, told))


def _more(sources: Collection[str]) -> list[tuple[str, ...]]:
    """Return first one source, then all."""
    names = tuple(sources)
    return [names] if len(names) < 2 else [names[:1], names]


def dropping(name: str, before: Placement, after: Placement) -> Read:
    return _read(f"prepare to drop, {name}", before, Migration("prepare", after))


def weighed(strategy: str, **of: int) -> Placement:
    """Return a placement over shards with these weights."""
    if strategy == "slots":
        return SlotsPlacement.even([Shard(name, weight) for name, weight in of.items()])
    fields: dict[str, Any] = {"strategy": strategy, "hash": "md5", "hash_tag": "{}"}
    shards = [{"name": name, "weight": weight} for name, weight in of.items()]
    return Placement.from_dict({**fields, "shards": shards})


SLOTS = weighed("slots", a=1, b=1)
# Of each: before, after, and where another migration leads.
CASES = {
    "a shard of slots is added": (
        SLOTS,
        SLOTS.with_shards([Shard("a"), Shard("b"), Shard("c")]),
        SLOTS.with_shards([Shard("a"), Shard("b"), Shard("d")]),
    ),
    "a shard is removed": (
        weighed("jedis", a=1, b=1, c=1),
        weighed("jedis", a=1, b=1),
        weighed("jedis", a=1, b=1, d=2),
    ),
    "another shard gains next": (
        weighed("jedis", a=1, b=1, c=1, d=1),
        weighed("jedis", a=1, b=3, c=1, d=1),
        weighed("jedis", a=1, b=1, c=1, d=1, e=1),
    ),
    "in two stages": (
        weighed("modula", a=1, b=1),
        weighed("modula", a=1, b=1, c=1),
        weighed("modula", a=1, c=1, d=1),
    ),
}
SAMPLE = [b"key:%d" % number for number in range(2000)]

each_case = pytest.mark.parametrize(("before", "after", "other"), CASES.values(), ids=CASES.keys())


def keys(*placements: Placement) -> list[bytes]:
    """Return a key of each way to be on shards by these placements."""
    found = {tuple(placement.owner(key) for placement in placements): key for key in SAMPLE}
    return list(found.values())


def retired(known: Read, then: Read) -> frozenset[str]:
    """Return what a client retires that acts on one document after another."""
    found = in_flight(known.document, then.document)
    migrating = then.document.migrating
    holds = migrating is not None and migrating.phase == "prepare"
    return found | involved(then.document) if holds else found


def left(known: Read, then: Read, some: Iterable[bytes]) -> list[tuple[str, str, Any, Any]]:
    """Return what may be under way still and must not, with the names of the documents."""
    gone, found = retired(known, then), list[tuple[str, str, Any, Any]]()
    for key in some:
        one, other = known.way(key), then.way(key)
        if one is not None and not one.may_go_on(other) and not one.shards <= gone:
            found.append((known.name, then.name, one, other))
    return found


def may_follow(known: Read, then: Read) -> bool:
    """Return whether a client may act on one after another: no shard has keys to move again."""
    one, other = known.document.migrating, then.document.migrating
    if one is None or other is None or (one.phase, other.phase) != ("move", "move"):
        return True
    same = known.document.placement == then.document.placement and one.placement == other.placement
    same = same and (one.stage, one.back) == (other.stage, other.back)
    return not same or one.done <= other.done


@each_case
def test_within_a_migration(before: Placement, after: Placement, other: Placement) -> None:
    line, some = list(Line(before, after)), keys(before, after)
    assert len(some) > 1
    for known in line:
        for then in line:
            if may_follow(known, then):
                assert not left(known, then, some)


def test_within_one_of_which_only_trying_keys_could_tell_the_shards() -> None:
    before, after = weighed("ketama", a=1, b=1), weighed("modula", a=1, b=1, c=1)
    line, some = Line(before, after), keys(before, after)
    known = [*line.stable(), line.phase("move", 0), line.phase("move", 1, back=True)]
    for one in known:
        for then in (line.phase("prepare", 1), *known):
            assert not left(one, then, some)


def others(before: Placement, after: Placement, other: Placement) -> list[Read]:
    """Return documents of moves that are not the one from `before` to `after`."""
    found = [_read("R", other)]
    for one, two in ((before, other), (after, other), (other, before), (after, before)):
        line = Line(one, two)
        for stage in range(line.stages):
            found += [line.phase("prepare", stage), line.phase("move", stage)]
            found += [line.phase("move", stage, back=True)]
    return found


@each_case
def test_from_one_move_to_another(before: Placement, after: Placement, other: Placement) -> None:
    some = keys(before, after, other)
    for one in Line(before, after):
        for two in others(before, after, other):
            assert not left(one, two, some)
            assert not left(two, one, some)


@each_case
def test_from_one_drop_to_another(before: Placement, after: Placement, other: Placement) -> None:
    some = keys(before, after, other)
    found = [
        *Line(before, after).stable(),
        _read("R", other),
        dropping("P to Q", before, after),
        dropping("P to R", before, other),
        dropping("Q to R", after, other),
        dropping("Q to P", after, before),
        dropping("R to P", other, before),
    ]
    for known in found:
        for then in found:
            assert not left(known, then, some)


def drops(before: Placement, after: Placement, other: Placement) -> list[Read]:
    return [
        dropping("P to Q", before, after),
        dropping("P to R", before, other),
        dropping("Q to R", after, other),
        dropping("Q to P", after, before),
        dropping("R to Q", other, after),
    ]


@each_case
def test_from_a_drop_to_a_move(before: Placement, after: Placement, other: Placement) -> None:
    some = keys(before, after, other)
    for known in drops(before, after, other):
        for then in Line(before, after):
            assert not left(known, then, some)


@each_case
def test_from_a_move_to_a_drop(before: Placement, after: Placement, other: Placement) -> None:
    """The client has missed the end of the move, be it at P or at Q."""
    some = keys(before, after, other)
    for known in Line(before, after):
        for then in drops(before, after, other):
            assert not left(known, then, some)


@each_case
def test_what_goes_on_as_it_should_retires_nothing(
    before: Placement, after: Placement, other: Placement
) -> None:
    line = Line(before, after)
    p, q = line.stable()
    for back in (False, True):
        for stage in range(line.stages):
            run = [line.phase("prepare", stage, back=back), *line.moves(stage, back=back)]
            for number, known in enumerate(run):
                for then in run[max(1, number) :]:  # each later one, as some may be missed
                    assert not in_flight(known.document, then.document)
        last = line.moves(0 if back else line.stages - 1, back=back)
        for known in last:
            assert not in_flight(known.document, (p if back else q).document)
    first = line.phase("prepare", 0)
    assert not in_flight(first.document, p.document), "stepped back"
    assert not in_flight(first.document, first.document.replace(version=2)), "another attempt"
    assert not in_flight(p.document, p.document.replace(version=2)), "other settings"
    assert not in_flight(None, first.document), "nothing was sent before"


@each_case
def test_all_that_keys_move_between_is_involved(
    before: Placement, after: Placement, other: Placement
) -> None:
    line, some = Line(before, after), keys(before, after)
    moving = [(before.owner(key), after.owner(key)) for key in some]
    lose = {source for source, target in moving if source != target}
    gain = {target for source, target in moving if source != target}
    assert involved(line.phase("prepare", 0).document) == lose | gain
    assert involved(dropping("P to Q", before, after).document) == lose
    assert involved(line.stable()[0].document) == frozenset()


@each_case
def test_once_the_data_of_a_shard_is_lost_nothing_is_pulled_from_it(
    before: Placement, after: Placement, other: Placement
) -> None:
    """It may come back with its old data: a pull of it must not go on, even without an attempt."""
    line = Line(before, after)
    for stage in range(line.stages):
        for back in (False, True):
            known = line.phase("move", stage, back=back)
            sources = sources_now(before, known.migration)
            for shard in sources:
                lost = frozenset([shard])
                told = replace(known.migration, done=lost, lost=lost)
                then = _read("lost", before, told)
                assert {shard} <= retired(known, then)
                assert not retired(
                    then, _read("more done", before, replace(told, done=frozenset(sources)))
                )
                assert involved(then.document) <= retired(then, known), "it was stepped back"
