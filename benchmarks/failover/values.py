"""Values that say whose they are: a wrong or an old reply shows by itself."""

from __future__ import annotations

from typing import NamedTuple


class Claim(NamedTuple):
    """What a value says about itself."""

    key: str
    writer: str
    sequence: int


def value_of(key: str, writer: str, sequence: int) -> str:
    """The value that this writer stores under this key with this sequence number."""
    return f"{key}|{writer}|{sequence}"


def claim_of(value: bytes | str) -> Claim:
    """What a value says. Raises ValueError for one that `value_of` has not made."""
    text = value.decode() if isinstance(value, bytes) else value
    key, writer, sequence = text.split("|")
    return Claim(key, writer, int(sequence))
