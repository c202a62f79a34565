"""Counts and names in sentences."""

from __future__ import annotations

_IRREGULAR = {"is": "are", "was": "were", "it": "them", "this": "these"}


def plural(count: int, word: str) -> str:
    """Return ``word`` as it stands after a count: "key" after 1, "keys" after any other.

    Args:
        count: how many there are.
        word: a noun in the singular, or one of "is", "was", "it", "this".
    """
    if count == 1:
        return word
    return _IRREGULAR.get(word) or f"{word}s"


def counted(count: int, word: str) -> str:
    """Return a count with its noun: "1 key", "12,345 keys", "0 replicas".

    Args:
        count: how many there are.
        word: the noun in the singular.
    """
    return f"{count:,} {plural(count, word)}"
