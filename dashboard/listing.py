"""What the lists of several pages have in common: words to look for, an order, pages.

The order is in the URL as `sort=-memory`: a column, "-" for descending, "" for the list's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

_MOST_TYPED = 200  # characters
_MOST_DIGITS = 15

T = TypeVar("T")


def typed(text: str) -> str:
    """Return what somebody has typed, with single spaces and of bounded length."""
    return " ".join(text[:_MOST_TYPED].split())


def whole_number(text: str) -> int | None:
    """Return the number that digits are, or None: the URL is typed by people."""
    fits = re.fullmatch(f"[0-9]{{1,{_MOST_DIGITS}}}", text) is not None
    return int(text) if fits else None


def has_words(text: str, words: str) -> bool:
    """Return whether all words stand in a text, upper and lower case alike."""
    return all(word in text.lower() for word in words.lower().split())


def pressed(sort: str, column: str, *, ascends: bool) -> str:
    """Return what a press on a column's head asks for: one order, the other, the list's own.

    Args:
        sort: the order now.
        ascends: whether the column ascends at first, as names do; figures descend.
    """
    up, down = column, f"-{column}"
    orders = (up, down, "") if ascends else (down, up, "")
    at = orders.index(sort) if sort in orders else 2
    return orders[(at + 1) % 3]


def direction(sort: str, column: str) -> str:
    """Return how a column is sorted, as the attribute aria-sort has it."""
    if sort.removeprefix("-") != column:
        return "none"
    return "descending" if sort.startswith("-") else "ascending"


def by_value(rows: Iterable[T], value: Callable[[T], Any], *, descending: bool) -> list[T]:
    """Sort rows by a value; those whose value is None come last, in either order."""
    known, unknown = list[tuple[Any, T]](), list[T]()
    for row in rows:
        found = value(row)
        if found is None:
            unknown.append(row)
        else:
            known.append((found, row))
    known.sort(key=lambda pair: pair[0], reverse=descending)
    return [*(row for _, row in known), *unknown]


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key by which cache-9 comes before cache-10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


@dataclass(frozen=True)
class ListPage(Generic[T]):
    """A page of a list.

    Attributes:
        rows: that it shows.
        number, pages: of this page, from 1 on, and how many there are.
        first, last: of its rows in the whole list, from 1 on; 0 without rows.
        found: how many rows the whole list has.
    """

    rows: tuple[T, ...]
    number: int
    pages: int
    first: int
    last: int
    found: int


def page_of(rows: Sequence[T], number: int, size: int) -> ListPage[T]:
    """Return a page of a list: the last one, if there are not so many."""
    pages = max(1, -(-len(rows) // size))
    number = min(max(1, number), pages)
    begin = (number - 1) * size
    shown = tuple(rows[begin : begin + size])
    first = begin + 1 if shown else 0
    return ListPage(shown, number, pages, first, begin + len(shown), len(rows))
