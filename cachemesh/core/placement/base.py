"""The interface of all placement strategies: shards with weights, and from a key to its shard."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.names import check_name
from cachemesh.core.placement.keys import SLOT_COUNT, key_bytes

MAX_WEIGHT = 1_000
MAX_SHARDS = SLOT_COUNT
_KEPT = 8  # placements that were read last
_LONGEST = 1 << 20  # characters of one that is kept

Target = TypeVar("Target")


@dataclass(frozen=True)
class Shard:
    """A shard in a placement.

    Attributes:
        name: as in the pool document.
        weight: the shard's share of the keys, relative to the other shards: 1 to 1000.

    Raises:
        InvalidDocumentError: the name or the weight is not valid.
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
class Overlap:
    """The hash values that change their owner between two placements.

    Attributes:
        moved: (source, target) -> how many hash values move from one shard to the other.
        total: how many hash values there are.
    """

    moved: Mapping[tuple[str, str], int]
    total: int


class Placement(ABC):
    """Decides which shard owns which key. Immutable; equal documents give equal placements.

    Attributes:
        strategy: name of the strategy in a document.
        shards: in document order.
        owner: returns the name of the shard that owns a key, given as bytes. On the hot path.
        in_order: a command without keys is sent to one shard after the other, as they are listed:
            keys are moving, from shards to later ones.
        holds: commands on keys that are about to move wait, and so do those that remove all keys.
    """

    in_order: bool = False
    holds: bool = False
    strategy: ClassVar[str]
    strategies: ClassVar[dict[str, type[Placement]]] = {}
    """Strategy name -> class. A class with a `strategy` of its own is added when it is defined."""

    shards: tuple[Shard, ...]
    owner: Callable[[bytes], str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "strategy" in cls.__dict__:
            Placement.strategies[cls.strategy] = cls

    @staticmethod
    def from_dict(document: object) -> Placement:
        """Return the placement that the ``placement`` object of a pool document describes.

        A document is read again and again, and takes a millisecond each time; so the last few
        placements are kept. Equal documents may give one object, of which nothing may be changed.

        Args:
            document: decoded JSON.

        Raises:
            InvalidDocumentError: not an object, an unknown strategy, or a field that is not valid.
        """
        if not isinstance(document, Mapping):
            raise InvalidDocumentError("placement is not an object")
        try:
            text = json.dumps(document, default=dict)  # of a Mapping that is no dict
        except (TypeError, ValueError, RecursionError):  # it is no decoded JSON
            return _read(document)
        return _read_text(text) if len(text) <= _LONGEST else _read(document)

    @classmethod
    @abstractmethod
    def from_document(cls, document: Mapping[str, object]) -> Placement:
        """Return a placement of this strategy; unknown fields are kept.

        Args:
            document: the ``placement`` object of a pool document.

        Raises:
            InvalidDocumentError: a field is not valid; the message names the field.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, object]:
        """Return the ``placement`` object of a pool document."""

    @abstractmethod
    def finder(self, targets: Mapping[str, Target]) -> Callable[[bytes], Target]:
        """Return a function from a key, as bytes, to the target of the shard that owns the key.

        Args:
            targets: shard name -> target.

        Raises:
            KeyError: ``targets`` lacks a shard.
        """

    @abstractmethod
    def with_shards(self, shards: Sequence[Shard]) -> Placement:
        """Return a placement of the same strategy over other shards or weights.

        Moves as few keys as the strategy allows.

        Args:
            shards: in document order.

        Raises:
            InvalidDocumentError: there are no shards, or two with the same name.
        """

    @abstractmethod
    def share(self, name: str) -> float:
        """Return the share (0 to 1) of all keys that a shard owns.

        Args:
            name: of the shard.

        Raises:
            KeyError: there is no such shard.
        """

    @abstractmethod
    def overlap(self, after: Placement) -> Overlap | None:
        """Return exactly what a change to another placement moves.

        Args:
            after: the placement after the change.

        Returns:
            None if only trying keys could tell.
        """

    def owners(self, keys: Sequence[bytes]) -> list[str]:
        """Return the name of the owning shard of each key.

        Args:
            keys: as bytes.
        """
        return list(map(self.owner, keys))

    def changed(
        self, after: Placement
    ) -> Callable[[Sequence[bytes]], list[tuple[bytes, str, str]]]:
        """Return what tells, of many keys, those with another owner in ``after``.

        It returns each with its owner here and its owner there.
        """

        def changed(keys: Sequence[bytes]) -> list[tuple[bytes, str, str]]:
            owners = zip(keys, self.owners(keys), after.owners(keys), strict=True)
            return [each for each in owners if each[1] != each[2]]

        return changed

    def channel_owners(self, channel: bytes) -> tuple[str, ...]:
        """Return the shards on which a channel is listened to, given as bytes."""
        return (self.owner(channel),)

    def shard_for(self, key: str | bytes) -> str:
        """Return the name of the shard that owns a key.

        Args:
            key: as an app passes it.

        Raises:
            InvalidKeyError: Redis cannot hold such a key.
        """
        return self.owner(key_bytes(key))

    @property
    def stable(self) -> Placement:
        """This placement, without the hold on keys that a resize in preparation adds to one."""
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Shard names, in document order."""
        return tuple(shard.name for shard in self.shards)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Placement):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.strategy, self.shards))


def check_shards(shards: Sequence[Shard]) -> tuple[Shard, ...]:
    """Return the shards as a tuple, once they are checked.

    Args:
        shards: at least one and at most 16,384, with distinct names.

    Raises:
        InvalidDocumentError: too few or too many shards, or two with the same name.
    """
    if not shards:
        raise InvalidDocumentError.of_kind("no-shards", "A pool needs at least one shard")
    if len(shards) > MAX_SHARDS:
        raise InvalidDocumentError(f"{len(shards)} shards: a pool takes at most {MAX_SHARDS}")
    names: set[str] = set()
    for shard in shards:
        if shard.name in names:
            raise InvalidDocumentError(
                f"Shard name {shard.name!r} is given twice; give each shard its own name"
            )
        names.add(shard.name)
    return tuple(shards)


def read_shards(
    document: Mapping[str, object],
) -> tuple[tuple[Shard, ...], dict[str, Mapping[str, object]]]:
    """Read the ``shards`` of a ``placement`` object.

    Args:
        document: the ``placement`` object.

    Returns:
        The shards, and each shard's whole entry by name.

    Raises:
        InvalidDocumentError: not a list of objects with a valid name and weight.
    """
    listed = document.get("shards")
    if not isinstance(listed, (list, tuple)):
        raise InvalidDocumentError("placement.shards is not a list")
    shards, entries = [], {}
    for entry in listed:
        if not isinstance(entry, Mapping):
            raise InvalidDocumentError(f"placement.shards holds {entry!r}, not an object")
        shard = Shard(check_name("shard", entry.get("name")), entry.get("weight", 1))
        shards.append(shard)
        entries[shard.name] = entry
    return check_shards(shards), entries


def unknown_fields(entry: Mapping[str, object], *known: str) -> dict[str, object]:
    """Return the fields of an object that this release does not know.

    Args:
        entry: the object.
        known: names of the known fields.
    """
    return {name: value for name, value in entry.items() if name not in known}


def _read(document: Mapping[str, object]) -> Placement:
    strategy = document.get("strategy")
    found = Placement.strategies.get(strategy) if isinstance(strategy, str) else None
    if found is None:
        known = ", ".join(repr(name) for name in sorted(Placement.strategies))
        raise InvalidDocumentError(
            f"Unknown placement strategy {strategy!r}; this release knows {known}"
        )
    return found.from_document(document)


@lru_cache(maxsize=_KEPT)
def _read_text(text: str) -> Placement:
    return _read(json.loads(text))
