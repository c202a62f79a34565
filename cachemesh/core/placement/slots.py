"""Strategy `slots`: 16,384 slots as in Redis Cluster; the document says who owns which.

key --CRC16 of its hash tag--> slot 0..16383 --table--> shard
|   cache-0   |   cache-1   |   cache-2   |     contiguous when new,
|  cache-0 |3|  cache-1 |3|  cache-2 |3|        ranges after a shard joins
"""

from __future__ import annotations

from binascii import crc_hqx
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import compress, repeat
from operator import ne

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.placement import slot_allocation
from cachemesh.core.placement.base import (
    Overlap,
    Placement,
    Shard,
    Target,
    check_shards,
    read_shards,
    unknown_fields,
)
from cachemesh.core.placement.keys import OPENING, SLOT_COUNT, hash_tag_of

_NOTHING: Mapping[str, Mapping[str, object]] = {}


class SlotsPlacement(Placement):
    """A placement of 16,384 slots: balanced exactly by weight, and few slots move on a change.

    Args:
        shards: in document order.
        owners: slot -> index of the shard that owns the slot.
        extra: unknown fields of the ``placement`` object.
        shard_extra: shard name -> unknown fields of its entry.
    """

    strategy = "slots"

    def __init__(
        self,
        shards: Iterable[Shard],
        owners: Sequence[int],
        extra: Mapping[str, object],
        shard_extra: Mapping[str, Mapping[str, object]] = _NOTHING,
    ) -> None:
        self.shards = tuple(shards)
        self._owners = owners
        self._extra = extra
        self._shard_extra = shard_extra
        names = [shard.name for shard in self.shards]
        self.table: list[str] = list(map(names.__getitem__, owners))
        """Slot -> shard name."""
        self.owner = _find_in(self.table)

    @classmethod
    def even(cls, shards: Sequence[Shard]) -> SlotsPlacement:
        """Deal the slots by weight in contiguous ranges, in the order of the shards.

        Args:
            shards: in document order.

        Raises:
            InvalidDocumentError: there are no shards, more shards than slots, or two with the same
                name.
        """
        shards = check_shards(shards)
        dealt = slot_allocation.rebalance([s.weight for s in shards], [-1] * SLOT_COUNT)
        return cls(shards, dealt, {})

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> SlotsPlacement:
        """Return the placement that a ``placement`` object describes; unknown fields are kept.

        Args:
            document: the ``placement`` object of a pool document.

        Raises:
            InvalidDocumentError: a slot has two owners or none, or a field is not valid.
        """
        for field, known in (("hash", "crc16"), ("hash_tag", "{}")):
            if document.get(field, known) != known:
                raise InvalidDocumentError(
                    f"placement.{field} {document[field]!r} is not what strategy 'slots' uses; "
                    f"set it to {known!r}"
                )
        shards, entries = read_shards(document)
        ranges = [entries[shard.name].get("slots") for shard in shards]
        owners = slot_allocation.owners_from_ranges([shard.name for shard in shards], ranges)
        extra = unknown_fields(document, "strategy", "hash", "hash_tag", "shards")
        shard_extra = {n: unknown_fields(e, "name", "weight", "slots") for n, e in entries.items()}
        return cls(shards, owners, extra, shard_extra)

    def to_dict(self) -> dict[str, object]:
        ranges = slot_allocation.ranges_from_owners(len(self.shards), self._owners)
        return {
            **self._extra,
            "strategy": self.strategy,
            "hash": "crc16",
            "hash_tag": "{}",
            "shards": [
                {
                    "name": s.name,
                    "weight": s.weight,
                    "slots": [list(r) for r in ranges[i]],
                    **self._shard_extra.get(s.name, {}),
                }
                for i, s in enumerate(self.shards)
            ],
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SlotsPlacement):
            return super().__eq__(other)
        # As `to_dict` tells, which takes milliseconds. Clients compare while commands are held.
        return (
            self.shards == other.shards
            and self.table == other.table
            and self._extra == other._extra
            and self._known_extra() == other._known_extra()
        )

    __hash__ = Placement.__hash__

    def _known_extra(self) -> dict[str, Mapping[str, object]]:
        return {name: fields for name, fields in self._shard_extra.items() if fields}

    def finder(self, targets: Mapping[str, Target]) -> Callable[[bytes], Target]:
        of_shard = [targets[shard.name] for shard in self.shards]
        return _find_in(list(map(of_shard.__getitem__, self._owners)))

    def owners(self, keys: Sequence[bytes]) -> list[str]:
        table = self.table
        return [table[crc & 16_383] for crc in _hashes(keys)]

    def changed(
        self, after: Placement
    ) -> Callable[[Sequence[bytes]], list[tuple[bytes, str, str]]]:
        if not isinstance(after, SlotsPlacement):
            return super().changed(after)
        pairs = [
            None if one == other else (one, other)
            for one, other in zip(self.table, after.table, strict=True)
        ]

        def changed(keys: Sequence[bytes]) -> list[tuple[bytes, str, str]]:
            found = zip(keys, _hashes(keys), strict=True)
            return [(key, *pair) for key, crc in found if (pair := pairs[crc & 16_383])]

        return changed

    def with_shards(self, shards: Sequence[Shard]) -> SlotsPlacement:
        shards = check_shards(shards)
        position = {shard.name: i for i, shard in enumerate(shards)}
        old_to_new = [position.get(shard.name, -1) for shard in self.shards]
        current = [old_to_new[owner] for owner in self._owners]
        owners = slot_allocation.rebalance([s.weight for s in shards], current)
        kept = {name: more for name, more in self._shard_extra.items() if name in position}
        return SlotsPlacement(shards, owners, self._extra, kept)

    def share(self, name: str) -> float:
        return self._counts[name] / SLOT_COUNT

    def overlap(self, after: Placement) -> Overlap | None:
        if not isinstance(after, SlotsPlacement):
            return None
        pairs = zip(self.table, after.table, strict=True)
        return Overlap(Counter(compress(pairs, map(ne, self.table, after.table))), SLOT_COUNT)

    def slot_counts(self) -> dict[str, int]:
        """Return the number of slots that each shard owns, by shard name."""
        return dict(self._counts)

    @cached_property
    def _counts(self) -> Mapping[str, int]:
        counts = Counter(self._owners)
        return {shard.name: counts[i] for i, shard in enumerate(self.shards)}

    def __repr__(self) -> str:
        return f"SlotsPlacement({self.slot_counts()})"


def _find_in(table: Sequence[Target]) -> Callable[[bytes], Target]:
    """Return a function from a key to its slot's entry in ``table``.

    The function repeats `keys.key_slot`, which saves one call.
    """

    def find(key: bytes) -> Target:
        if OPENING in key:
            key = hash_tag_of(key)
        return table[crc_hqx(key, 0) & 16_383]

    return find


def _hashes(keys: Sequence[bytes]) -> Iterator[int]:
    """Return the CRC16 of the hash tag of each key."""
    hashed = _hash_tags(keys) if OPENING in b"".join(keys) else keys
    return map(crc_hqx, hashed, repeat(0))


def _hash_tags(keys: Sequence[bytes]) -> list[bytes]:
    """Return the hash tag of each key, three times as fast as `keys.hash_tag_of`."""
    hashed = []
    for key in keys:
        tag, closing, _ = key.partition(b"{")[2].partition(b"}")
        hashed.append(tag if closing and tag else key)
    return hashed
