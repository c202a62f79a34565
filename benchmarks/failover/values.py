"""Values that name their key, writer and sequence number, so that a wrong or old one shows."""

from __future__ import annotations

from typing import NamedTuple


class Claim(NamedTuple):
    """The key, writer and sequence number that a value names."""

    key: str
    writer: str
    sequence: int


def value_of(key: str, writer: str, sequence: int) -> str:
    """Return the value that a writer stores under a key with a sequence number."""
    return f"{key}|{writer}|{sequence}"


def claim_of(value: bytes | str) -> Claim:
    """Parse a value. Raises ValueError for one that `value_of` has not made."""
    text = value.decode() if isinstance(value, bytes) else value
    key, writer, sequence = text.split("|")
    return Claim(key, writer, int(sequence))
