"""The base of strategies with a choice of hash function and hash tag, as other clients have."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.placement.base import (
    Placement,
    Shard,
    check_shards,
    read_shards,
    unknown_fields,
)
from cachemesh.core.placement.hash_functions import HashFunction

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

MAX_LABEL_BYTES = 79
"""The longest label whose ring points twemproxy does not truncate."""

Fields = Mapping[str, object]


class HashBasedPlacement(Placement):
    """A placement by one of several hash functions.

    Attributes:
        hash: name of the hash function.
        hash_tag: two characters; only the part of a key between them is hashed. None hashes whole
            keys.
        labels: what each shard's points are computed from: its ``label``, or else its name.
        digest: returns the hash value of a key's hash tag, the key given as bytes.
    """

    hashes: ClassVar[Mapping[str, HashFunction]]
    default_hash: ClassVar[str]

    def __init__(self, shards: Sequence[Shard], fields: Fields, entries: Mapping[str, Fields]):
        self.shards = check_shards(shards)
        self.hash = self._checked_hash(fields)
        self.hash_tag = _checked_hash_tag(fields.get("hash_tag"))
        self._extra = unknown_fields(fields, "strategy", "hash", "hash_tag", "shards")
        self._entries = {
            shard.name: unknown_fields(entries[shard.name], "name", "weight")
            for shard in self.shards
            if shard.name in entries
        }
        self.labels = _checked_labels(self.shards, self._entries)
        self.check()
        function = self.hashes[self.hash].function
        self.digest = (
            function if self.hash_tag is None else self.hash_of_tag(function, self.hash_tag)
        )
        self.owner = self.finder({name: name for name in self.names})

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> Self:
        shards, entries = read_shards(document)
        return cls(shards, document, entries)

    def check(self) -> None:
        """Check the fields that only this strategy has.

        Raises:
            InvalidDocumentError: a field is not valid; the message names the field.
        """

    @abstractmethod
    def hash_of_tag(self, function: Callable[[bytes], int], tag: str) -> Callable[[bytes], int]:
        """Return a function that hashes the part of a key between the tag characters.

        Args:
            function: the hash function.
            tag: the opening and the closing character.
        """

    def to_dict(self) -> dict[str, object]:
        return {
            "strategy": self.strategy,
            "hash": self.hash,
            "hash_tag": self.hash_tag,
            **self._extra,
            "shards": [
                {"name": s.name, "weight": s.weight, **self._entries.get(s.name, {})}
                for s in self.shards
            ],
        }

    def with_shards(self, shards: Sequence[Shard]) -> Self:
        fields = {"hash": self.hash, "hash_tag": self.hash_tag, **self._extra}
        return type(self)(shards, fields, self._entries)

    @property
    def span(self) -> int:
        """How many values the hash function has."""
        return self.hashes[self.hash].span

    def position(self, name: str) -> int:
        """Return the index of a shard in the document.

        Args:
            name: of the shard.

        Raises:
            KeyError: there is no such shard.
        """
        for position, shard in enumerate(self.shards):
            if shard.name == name:
                return position
        raise KeyError(name)

    def hashes_as(self, other: HashBasedPlacement) -> bool:
        """Whether both placements give every key the same hash value.

        Args:
            other: the placement to compare with.
        """
        mine = (self.strategy, self.hash, self.hash_tag)
        return mine == (other.strategy, other.hash, other.hash_tag)

    def __repr__(self) -> str:
        weights = {shard.name: shard.weight for shard in self.shards}
        return f"{type(self).__name__}(hash={self.hash!r}, hash_tag={self.hash_tag!r}, {weights})"

    @classmethod
    def _checked_hash(cls, fields: Fields) -> str:
        name = fields.get("hash", cls.default_hash)
        if isinstance(name, str) and name in cls.hashes:
            return name
        raise InvalidDocumentError(
            f"placement.hash {name!r} is not one that strategy {cls.strategy!r} has; "
            f"use one of: {', '.join(sorted(cls.hashes))}"
        )


def _checked_hash_tag(tag: object) -> str | None:
    if tag is None:
        return None
    if isinstance(tag, str) and len(tag) == 2 and tag.isascii() and tag.isprintable():
        return tag
    raise InvalidDocumentError(
        f"placement.hash_tag {tag!r} is neither null nor two printable ASCII characters such as "
        "'{}'"
    )


def _checked_labels(shards: Sequence[Shard], entries: Mapping[str, Fields]) -> tuple[str, ...]:
    labels: dict[str, str] = {}
    for shard in shards:
        label = entries.get(shard.name, {}).get("label", shard.name)
        if not (isinstance(label, str) and label.isprintable() and label):
            raise InvalidDocumentError(
                f"label {label!r} of shard {shard.name!r} is not a printable string"
            )
        if len(label.encode()) > MAX_LABEL_BYTES:
            raise InvalidDocumentError(
                f"label {label!r} of shard {shard.name!r} is longer than {MAX_LABEL_BYTES} bytes"
            )
        if label in labels:
            raise InvalidDocumentError(
                f"Shards {labels[label]!r} and {shard.name!r} have the same label {label!r}; "
                "labels differ"
            )
        labels[label] = shard.name
    return tuple(labels)
