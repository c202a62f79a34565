"""Where a command goes while keys move: one rule for all clients that act on the same document.

Source: the phases of a migration, `cachemesh.core.migration.phase`, and docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import product

from cachemesh.core.migration.phase import Migration
from cachemesh.core.migration.stages import Stages, ranked
from cachemesh.core.placement.base import Overlap, Placement, Shard, Target
from cachemesh.core.placement.diff import moves
from cachemesh.core.rerouting import KeyHeldError, KeyMovingError, Pair


class MigratingPlacement(Placement):
    """A placement of which some keys are moving, or about to move, to where another has them.

    Args:
        before: the placement of the pool document.
        migration: of the same document.
        settled: keys that their source has not any more, nor its replicas.

    `owner`, and what `finder` returns, raise `KeyHeldError` for a key that is about to move, and
    `KeyMovingError` for one that its source may still have; `owners` raises one for all such keys.
    """

    def __init__(
        self, before: Placement, migration: Migration, settled: Container[bytes] = ()
    ) -> None:
        self._before = before
        self._settled = settled
        self.migration = migration
        self.in_order = migration.begun
        self.holds = migration.phase == "prepare"
        self.shards = _sources_first(before, migration) if migration.begun else before.shards
        self.owner = _owner_of(before, migration, settled)

    @property
    def stable(self) -> Placement:
        return self._before

    def goes_on(self, before: Placement, migration: Migration) -> bool:
        """Return whether the same keys move from and to the same shards in a later document."""
        mine = self.migration
        return mine.is_of(migration) and mine.stage == migration.stage and self._before == before

    def channel_owners(self, channel: bytes) -> tuple[str, ...]:
        """Return the shards to listen to: messages go to the second once all keys have moved."""
        now = self._before.owner(channel)
        if not self.migration.moves:
            return (now,)
        return tuple(dict.fromkeys((now, self.migration.placement.owner(channel))))

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> Placement:
        """Refuse: a document has two placements, and a migration, instead."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, object]:
        document = self._before.to_dict()
        if not self.migration.begun:
            return document
        stage = {"stage": self.migration.stage, "back": _goes_back(self.migration)}
        return {**document, "after": self.migration.placement.to_dict(), **stage}

    def owners(self, keys: Sequence[bytes]) -> list[str]:
        found, moving = list[str](), dict[Pair, list[bytes]]()
        for key in keys:
            try:
                found.append(self.owner(key))
            except KeyMovingError as error:
                for pair, some in error.keys.items():
                    moving.setdefault(pair, []).extend(some)
        if moving:
            raise KeyMovingError(moving, self._settled)
        return found

    def finder(self, targets: Mapping[str, Target]) -> Callable[[bytes], Target]:
        owner, own = self.owner, {name: targets[name] for name in self.names}
        return lambda key: own[owner(key)]

    def with_shards(self, shards: Sequence[Shard]) -> Placement:
        return self._before.with_shards(shards)

    def share(self, name: str) -> float:
        return self._before.share(name)

    def overlap(self, after: Placement) -> Overlap | None:
        return self._before.overlap(after)

    def __hash__(self) -> int:
        return hash(self._before)

    __eq__ = Placement.__eq__


def _owner_of(
    before: Placement, migration: Migration, settled: Container[bytes]
) -> Callable[[bytes], str]:
    owner_before, owner_after = before.owner, migration.placement.owner
    stages = Stages(migration.stages, ranked(before, migration.placement))
    now, back, done = migration.stage, migration.back, migration.done
    holds, in_stages = migration.phase == "prepare", migration.moves

    def owner(key: bytes) -> str:
        source, target = owner_before(key), owner_after(key)
        if source == target:
            return source
        if in_stages and (stage := stages.of(source, target)) != now:
            return target if stage < now else source
        if holds:
            raise KeyHeldError
        if back:
            source, target = target, source
        if source in done or key in settled:
            return target
        raise KeyMovingError({(source, target): [key]}, settled)

    return owner


def leaving(
    before: Placement, migration: Migration, source: str
) -> Callable[[Sequence[bytes]], Iterator[tuple[bytes, str]]]:
    """Return what tells which of many keys leave a shard in this stage, and where each goes."""
    after = migration.placement
    stages = Stages(migration.stages, ranked(before, after))
    now, back, changed = migration.stage, migration.back, before.changed(after)

    def leave(keys: Sequence[bytes]) -> Iterator[tuple[bytes, str]]:
        for key, one, other in changed(keys):
            if stages.of(one, other) == now:
                gives, gains = (other, one) if back else (one, other)
                if gives == source:
                    yield key, gains

    return leave


def sources_now(before: Placement, migration: Migration) -> tuple[str, ...]:
    """Return the shards that keys move from in this stage, in name order.

    Where only trying keys could tell exactly, every shard counts as one that loses keys.
    """
    after = migration.placement
    found = before.overlap(after)
    if found is None:
        return tuple(sorted((after if migration.back else before).names))
    stages = Stages(migration.stages, ranked(before, after))
    now = [pair for pair in found.moved if stages.of(*pair) == migration.stage]
    return tuple(sorted({target if migration.back else source for source, target in now}))


def targets_now(before: Placement, migration: Migration, source: str) -> tuple[str, ...]:
    """Return the shards that keys of one shard move to in this stage, in name order.

    Where only trying keys could tell exactly, every shard counts as one that they move to.
    """
    after = migration.placement
    stages = Stages(migration.stages, ranked(before, after))
    found = before.overlap(after)
    pairs = product(before.names, after.names) if found is None else iter(found.moved)
    now = [each for each in pairs if each[0] != each[1] and stages.of(*each) == migration.stage]
    moves_now = [(other, one) for one, other in now] if migration.back else now
    return tuple(sorted(gains for gives, gains in moves_now if gives == source))


def _sources_first(before: Placement, migration: Migration) -> tuple[Shard, ...]:
    """Return the shards of both placements, each before those that gain keys from it.

    Whoever reads all shards in this order meets each key: at its source, or later at its target.
    """
    after, back = migration.placement, _goes_back(migration)
    shards = {shard.name: shard for shard in (*after.shards, *before.shards)}
    names = list(shards)
    if migration.stages > 1:
        names.sort(reverse=(migration.stage == 1) != back)
    else:
        sorter = TopologicalSorter[str](dict.fromkeys(names, ()))
        for move in moves(before, after).by_pair:
            pair = (move.target, move.source)
            sorter.add(*(reversed(pair) if back else pair))
        try:
            names = list(sorter.static_order())
        except CycleError:  # of a foreign document: one of this project has two stages then
            names.sort()
    return tuple(shards[name] for name in names)


def _goes_back(migration: Migration) -> bool:
    """Return whether keys go back by now: while that is prepared, others move them forward yet."""
    return migration.back and migration.phase == "move"


def sources(before: Placement, after: Placement) -> frozenset[str]:
    """Return the shards that lose keys in a change of placement.

    Where only trying keys could tell exactly, every shard counts as one that does.
    """
    found = before.overlap(after)
    if found is None:
        return frozenset(before.names)
    return frozenset(source for source, _ in found.moved)


def exchanging(before: Placement, after: Placement) -> frozenset[str]:
    """Return the shards that lose or gain keys in a change of placement.

    Where only trying keys could tell exactly, every shard counts as one that does.
    """
    found = before.overlap(after)
    if found is None:
        return frozenset((*before.names, *after.names))
    return frozenset(name for pair in found.moved for name in pair)
