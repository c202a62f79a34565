"""The keys, the values and the order of accesses, the same for all peers and in all runs."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import count, cycle, islice

from cachemesh.replay.workload import zipf

VALUE_BYTES = 100
OBJECTS = 1000
_WRITES = 0.2
_DRAWN = 20_000  # accesses drawn; after these they come again


def _items(prefix: str, objects: int, size: int) -> dict[str, bytes]:
    keys = [f"{prefix}:{number}" for number in range(1, objects + 1)]
    return {key: key.encode().ljust(size, b".") for key in keys}


SMALL = _items("object", OBJECTS, VALUE_BYTES)
KIB = _items("kib", OBJECTS, 1024)
LARGE = _items("large", 64, 100 * 1024)


_CHECKED = 100
_checks = count(1)


def some(data: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the part of the data by which a peer's values are checked."""
    return dict(islice(data.items(), _CHECKED))


def fresh(data: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the same data under new keys."""
    check = next(_checks)
    return {f"check:{check}:{key}": value for key, value in some(data).items()}


def in_turn(data: Mapping[str, bytes], calls: int) -> list[str]:
    """Return the keys of so many calls: all keys in order, from the beginning again."""
    return list(islice(cycle(data), calls))


@cache
def groups(keys: tuple[str, ...], size: int) -> list[list[str]]:
    """Return the keys in groups."""
    return [list(keys[start : start + size]) for start in range(0, len(keys), size)]


def groups_in_turn(data: Mapping[str, bytes], size: int, calls: int) -> list[list[str]]:
    """Return the groups of keys of so many calls: all in order, from the beginning again."""
    return list(islice(cycle(groups(tuple(data), size)), calls))


@cache
def _mixture() -> Sequence[tuple[bool, str]]:
    writes = random.Random(2)
    keys = zipf(OBJECTS, _DRAWN, prefix="object:")
    return [(writes.random() < _WRITES, key) for key in keys]


def mixed(calls: int) -> list[tuple[bool, str]]:
    """Return so many accesses: whether to write (one in five), and a key, popular ones often."""
    return list(islice(cycle(_mixture()), calls))
