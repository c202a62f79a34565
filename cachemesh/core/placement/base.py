"""What every strategy is: shards with weights, and a pure function from key to shard."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.names import check_name
from cachemesh.core.placement.keys import SLOT_COUNT, key_bytes

MAX_WEIGHT = 1_000
MAX_SHARDS = SLOT_COUNT

Target = TypeVar("Target")


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
class Overlap:
    """Which hash values change hands between two placements.

    Attributes:
        moved: (source, target) -> how many values go from one to the other.
        total: how many values there are.
    """

    moved: Mapping[tuple[str, str], int]
    total: int


class Placement(ABC):
    """Which shard owns which key. Immutable; equal documents give equal placements.

    Attributes:
        strategy: its name in a document.
        shards: in document order.
        owner: key as bytes -> name of the shard that owns it. The hot path.
    """

    strategy: ClassVar[str]
    strategies: ClassVar[dict[str, type[Placement]]] = {}
    """Strategy name -> class; each class that names its strategy is in it."""

    shards: tuple[Shard, ...]
    owner: Callable[[bytes], str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "strategy" in cls.__dict__:
            Placement.strategies[cls.strategy] = cls

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
        found = Placement.strategies.get(strategy) if isinstance(strategy, str) else None
        if found is None:
            known = ", ".join(repr(name) for name in sorted(Placement.strategies))
            raise InvalidDocumentError(
                f"Unknown placement strategy {strategy!r}; this release knows {known}"
            )
        return found.from_document(document)

    @classmethod
    @abstractmethod
    def from_document(cls, document: Mapping[str, object]) -> Placement:
        """Read and check a ``placement`` object of this strategy; unknown fields are kept.

        Raises:
            InvalidDocumentError: a malformed field, named.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, object]:
        """The ``placement`` object of a pool document."""

    @abstractmethod
    def finder(self, targets: Mapping[str, Target]) -> Callable[[bytes], Target]:
        """A function from a key as bytes to what ``targets`` holds for its shard's name.

        Raises:
            KeyError: ``targets`` lacks a shard.
        """

    @abstractmethod
    def with_shards(self, shards: Sequence[Shard]) -> Placement:
        """The same strategy over other shards or weights, moving as few keys as it can.

        Raises:
            InvalidDocumentError: no shards, or a name twice.
        """

    @abstractmethod
    def share(self, name: str) -> float:
        """The part (0 to 1) of all keys that a shard owns.

        Raises:
            KeyError: no such shard.
        """

    @abstractmethod
    def overlap(self, after: Placement) -> Overlap | None:
        """What changes hands between this placement and another, exactly.

        None if that can only be found out by trying keys.
        """

    def owners(self, keys: Sequence[bytes]) -> list[str]:
        """The shard of each of many keys."""
        return list(map(self.owner, keys))

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

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Placement):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.strategy, self.shards))


def check_shards(shards: Sequence[Shard]) -> tuple[Shard, ...]:
    """Shards with distinct names, at least one and at most as many as there are slots.

    Raises:
        InvalidDocumentError: otherwise.
    """
    if not shards:
        raise InvalidDocumentError("A pool needs at least one shard")
    if len(shards) > MAX_SHARDS:
        raise InvalidDocumentError(f"{len(shards)} shards: a pool takes at most {MAX_SHARDS}")
    names: set[str] = set()
    for shard in shards:
        if shard.name in names:
            raise InvalidDocumentError(f"Shard name {shard.name!r} is there twice; names differ")
        names.add(shard.name)
    return tuple(shards)


def read_shards(
    document: Mapping[str, object],
) -> tuple[tuple[Shard, ...], dict[str, Mapping[str, object]]]:
    """The shards of a ``placement`` object, and by name all that it says about each.

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
    """The fields of an object that this release does not know."""
    return {name: value for name, value in entry.items() if name not in known}
