"""Counts and their nouns in sentences."""

from __future__ import annotations


def plural(count: int, noun: str) -> str:
    """Return a noun as it stands after a count: "key" after 1, "keys" after any other.

    Args:
        count: how many there are.
        noun: in the singular; its plural ends in "s".
    """
    return noun if count == 1 else f"{noun}s"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: "1 key", "12,345 keys", "0 replicas". Args as `plural`."""
    return f"{count:,} {plural(count, noun)}"
