"""Placement: the pure function from a key to the name of the shard that owns it.

key --key_slot--> slot 0..16383 --table--> shard
|   cache-0   |   cache-1   |   cache-2   |     contiguous when new,
|  cache-0 |3|  cache-1 |3|  cache-2 |3|        ranges after a shard joins
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from cachemesh.core import slots
from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.hashing import SLOT_COUNT, key_bytes, key_slot
from cachemesh.core.names import check_name

MAX_WEIGHT = 1_000


@dataclass(frozen=True)
class Shard:
    """A shard as placement sees it: a name and a weight, an integer from 1 to 1000.

    Raises:
        InvalidDocumentError: a name or weight that is not valid.
    """

    name: str
    weight: int = 1

    def __post_init__(self) -> None:
        check_name("shard", self.name)
        weight: object = self.weight
        if not isinstance(weight, int) or isinstance(weight, bool):
            raise InvalidDocumentError(
                f"Weight {weight!r} of shard {self.name!r} is not an integer; use 1 to {MAX_WEIGHT}"
            )
        if not 1 <= weight <= MAX_WEIGHT:
            raise InvalidDocumentError(
                f"Weight {weight} of shard {self.name!r} is out of range; use 1 to {MAX_WEIGHT}"
            )


@dataclass(frozen=True)
class Move:
    """So many slots go from one shard to another."""

    source: str
    target: str
    slots: int


@dataclass(frozen=True)
class Moves:
    """What a change of placement moves: per pair, in slots, and as a share (0 to 1) of all keys."""

    by_pair: tuple[Move, ...]
    slots: int
    share: float


class Placement(ABC):
    """Which shard owns which key. Immutable; equal documents give equal placements."""

    strategy: ClassVar[str]
    shards: tuple[Shard, ...]

    @staticmethod
    def from_dict(document: object) -> Placement:
        """A placement from the ``placement`` object of a pool document.

        Raises:
            InvalidDocumentError: not an object, an unknown strategy, or fields that contradict
                each other.
        """
        if not isinstance(document, Mapping):
            raise InvalidDocumentError("placement is not an object")
        strategy = document.get("strategy")
        if strategy != SlotsPlacement.strategy:
            raise InvalidDocumentError(
                f"Unknown placement strategy {strategy!r}; this release knows 'slots'"
            )
        return SlotsPlacement.from_document(document)

    @abstractmethod
    def to_dict(self) -> dict[str, object]:
        """The ``placement`` object of a pool document."""

    @abstractmethod
    def owner(self, key: bytes) -> str:
        """Name of the shard that owns a key given as bytes. The hot path."""

    @abstractmethod
    def with_shards(self, shards: Sequence[Shard]) -> Placement:
        """The same strategy over other shards or weights, moving as few keys as it can."""

    @abstractmethod
    def share(self, name: str) -> float:
        """The part (0 to 1) of all keys that a shard owns.

        Raises:
            KeyError: no such shard.
        """

    def shard_for(self, key: str | bytes) -> str:
        """Name of the shard that owns a key.

        Raises:
            InvalidKeyError: a key Redis cannot hold.
        """
        return self.owner(key_bytes(key))

    @property
    def names(self) -> tuple[str, ...]:
        """Shard names, in document order."""
        return tuple(shard.name for shard in self.shards)


class SlotsPlacement(Placement):
    """16,384 slots as in Redis Cluster; the document says which shard owns which."""

    strategy = "slots"

    def __init__(
        self, shards: Iterable[Shard], owners: Sequence[int], extra: Mapping[str, object]
    ) -> None:
        self.shards = tuple(shards)
        self._owners = owners
        self._extra = extra
        names = [shard.name for shard in self.shards]
        self.table: list[str] = [names[owner] for owner in owners]
        """Slot -> shard name."""

    @classmethod
    def even(cls, shards: Sequence[Shard]) -> SlotsPlacement:
        """Slots dealt by weight in contiguous ranges, in the order of the shards.

        Raises:
            InvalidDocumentError: no shards, more shards than slots, or a name twice.
        """
        shards = check_shards(shards)
        return cls(shards, slots.rebalance([s.weight for s in shards], [-1] * SLOT_COUNT), {})

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> SlotsPlacement:
        """Read and check a ``placement`` object; fields it does not know are kept.

        Raises:
            InvalidDocumentError: a slot owned twice or by nobody, or a malformed field.
        """
        for field, known in (("hash", "crc16"), ("hash_tag", "{}")):
            if document.get(field, known) != known:
                raise InvalidDocumentError(
                    f"placement.{field} {document[field]!r} is not what strategy 'slots' uses; "
                    f"set it to {known!r}"
                )
        entries = document.get("shards")
        if not isinstance(entries, (list, tuple)):
            raise InvalidDocumentError("placement.shards is not a list")
        shards, ranges = [], []
        for entry in entries:
            if not isinstance(entry, Mapping):
                raise InvalidDocumentError(f"placement.shards holds {entry!r}, not an object")
            shards.append(Shard(check_name("shard", entry.get("name")), entry.get("weight", 1)))
            ranges.append(entry.get("slots"))
        checked = check_shards(shards)
        owners = slots.owners_from_ranges([s.name for s in checked], ranges)
        known_fields = ("strategy", "hash", "hash_tag", "shards")
        extra = {name: value for name, value in document.items() if name not in known_fields}
        return cls(checked, owners, extra)

    def to_dict(self) -> dict[str, object]:
        ranges = slots.ranges_from_owners(len(self.shards), self._owners)
        return {
            **self._extra,
            "strategy": self.strategy,
            "hash": "crc16",
            "hash_tag": "{}",
            "shards": [
                {"name": s.name, "weight": s.weight, "slots": [list(r) for r in ranges[i]]}
                for i, s in enumerate(self.shards)
            ],
        }

    def owner(self, key: bytes) -> str:
        return self.table[key_slot(key)]

    def with_shards(self, shards: Sequence[Shard]) -> SlotsPlacement:
        shards = check_shards(shards)
        position = {shard.name: i for i, shard in enumerate(shards)}
        old_to_new = [position.get(shard.name, -1) for shard in self.shards]
        current = [old_to_new[owner] for owner in self._owners]
        owners = slots.rebalance([s.weight for s in shards], current)
        return SlotsPlacement(shards, owners, self._extra)

    def share(self, name: str) -> float:
        return self.slot_counts()[name] / SLOT_COUNT

    def slot_counts(self) -> dict[str, int]:
        """Shard name -> number of slots it owns."""
        counts = [0] * len(self.shards)
        for owner in self._owners:
            counts[owner] += 1
        return {shard.name: counts[i] for i, shard in enumerate(self.shards)}

    def slots_of(self, name: str) -> tuple[tuple[int, int], ...]:
        """Slot ranges a shard owns, both ends inclusive.

        Raises:
            KeyError: no such shard.
        """
        if name not in self.names:
            raise KeyError(name)
        ranges = slots.ranges_from_owners(len(self.shards), self._owners)
        return ranges[self.names.index(name)]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SlotsPlacement):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.shards, tuple(self._owners)))

    def __repr__(self) -> str:
        return f"SlotsPlacement({self.slot_counts()})"


def check_shards(shards: Sequence[Shard]) -> tuple[Shard, ...]:
    """Shards with distinct names, at least one and at most as many as there are slots.

    Raises:
        InvalidDocumentError: otherwise.
    """
    if not shards:
        raise InvalidDocumentError("A pool needs at least one shard")
    if len(shards) > SLOT_COUNT:
        raise InvalidDocumentError(f"{len(shards)} shards: a pool takes at most {SLOT_COUNT}")
    names: set[str] = set()
    for shard in shards:
        if shard.name in names:
            raise InvalidDocumentError(f"Shard name {shard.name!r} is there twice; names differ")
        names.add(shard.name)
    return tuple(shards)


def moves(before: Placement, after: Placement) -> Moves:
    """What going from one placement to another moves.

    Raises:
        InvalidDocumentError: the two are of different strategies.
    """
    if not isinstance(before, SlotsPlacement) or not isinstance(after, SlotsPlacement):
        raise InvalidDocumentError("Only placements of strategy 'slots' can be compared")
    pairs: dict[tuple[str, str], int] = {}
    for pair in zip(before.table, after.table, strict=True):
        if pair[0] != pair[1]:
            pairs[pair] = pairs.get(pair, 0) + 1
    total = sum(pairs.values())
    by_pair = tuple(Move(source, target, n) for (source, target), n in sorted(pairs.items()))
    return Moves(by_pair, total, total / SLOT_COUNT)
