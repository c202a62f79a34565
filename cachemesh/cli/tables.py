"""Tables that fit the terminal: one line a row, and no address is ever folded or cut.

In a pipe, in a file, or with ``-o wide``, a table has all its columns in full. A table that is too
wide for the terminal is reduced in this order: cells take their short form, long names and prose
are cut to a comfortable width, columns are dropped by rank, names and prose are cut further. What
still does not fit runs over the edge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.table import Table as RichTable
from rich.text import Text

from cachemesh.cli.output import cell, console, widest

Fit = Literal["whole", "middle", "end"]
_NARROWEST = 12  # characters to which a name or prose is cut when no column is left to leave
_GAP = 2
_WORD_END = re.compile(r"[ ,]")

_STYLES = {
    **dict.fromkeys(("up", "ok"), "green"),
    **dict.fromkeys(("failing over", "joining", "draining", "starting"), "yellow"),
    **dict.fromkeys(("degraded", "down", "DOWN"), "red"),
}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: its heading.
        right: whether its cells are aligned to the right.
        rank: which column a too wide table drops first: empty ones, then the lowest rank; None:
            never.
        fit: how a long cell is cut: not at all ("whole"), in its "middle" (for names), or at its
            "end" after a word (for prose).
        comfortable: characters to which such a cell is cut before any column is dropped.
    """

    title: str
    right: bool = False
    rank: int | None = None
    fit: Fit = "whole"
    comfortable: int = 24


@dataclass(frozen=True)
class Cell:
    """A cell that has a short form, or a style.

    Attributes:
        full: the value where there is room.
        short: the value in a table that is too wide.
        style: a style of rich, for a terminal that shows colours.
    """

    full: object
    short: object
    style: str = ""


@dataclass(frozen=True)
class Table:
    """Columns and rows; a cell is a `Cell` or a plain value."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def table(columns: Iterable[Column | str], rows: Iterable[Sequence[object]]) -> Table:
    """Make a table.

    Args:
        columns: a text is the title of a column that is never dropped; ">" at its end aligns the
            column to the right.
        rows: of values or cells.
    """
    made = [
        Column(each.removesuffix(">"), right=each.endswith(">")) if isinstance(each, str) else each
        for each in columns
    ]
    cells = [[v if isinstance(v, Cell) else Cell(v, v) for v in row] for row in rows]
    return Table(made, cells)


def state(word: str) -> Cell:
    """Return the cell of a state: green, yellow for known work, or red for trouble."""
    return Cell(word, word, _STYLES.get(word, ""))


def moment(at: str | None) -> Cell:
    """Return the cell of an RFC 3339 time in UTC; its short form has no year and no fraction."""
    return Cell(at, None if at is None else at[5:19].replace("T", " "))


def show(shown: Table, *, wide: bool = False, err: bool = False) -> None:
    """Print a table on stdout.

    Args:
        shown: the table.
        wide: print all columns in full, also on a terminal.
        err: print on stderr instead.
    """
    target = console(err=err)
    made = _full(shown)
    needed = widest(target, made)
    if target.is_terminal and not wide and needed > target.width:
        dots = "..." if target.options.ascii_only else "…"
        made = fitted(shown, target.width, dots)
        needed = widest(target, made)
    target.width = max(needed, 1)  # so that rich folds nothing
    target.print(made)


def fitted(shown: Table, width: int, dots: str = "…") -> RichTable:
    """Return a table in its short form, at most ``width`` characters wide if that is possible."""
    texts = [[cell(each.short) for each in row] for row in shown.rows]
    kept, widths = layout(shown.columns, texts, width)
    columns = [shown.columns[index] for index in kept]
    rows = [
        [
            Text(_cut(texts[at][index], size, shown.columns[index].fit, dots), row[index].style)
            for index, size in zip(kept, widths, strict=True)
        ]
        for at, row in enumerate(shown.rows)
    ]
    return _rich(columns, rows, padding=(0, _GAP - 1, 0, 0))


def layout(
    columns: Sequence[Column], texts: Sequence[Sequence[str]], width: int
) -> tuple[list[int], list[int]]:
    """Return the indexes of the columns that stay, and the width of each in characters."""
    kept = list(range(len(columns)))
    says = [any(row[i] not in ("", "-") for row in texts) for i in kept]
    leaving = sorted((says[i], r, i) for i, c in enumerate(columns) if (r := c.rank) is not None)
    natural = [
        max([cell_len(column.title), *(cell_len(row[i]) for row in texts)])
        for i, column in enumerate(columns)
    ]
    least = _least(columns, texts, natural, [column.comfortable for column in columns])
    while leaving and _total(least[i] for i in kept) > width:
        kept.remove(leaving.pop(0)[-1])
    if _total(least[i] for i in kept) > width:
        least = _least(columns, texts, natural, [_NARROWEST] * len(columns))
    widths = {i: natural[i] for i in kept}
    while _total(widths.values()) > width:
        loose = [i for i in kept if widths[i] > least[i]]
        if not loose:
            break
        widths[max(loose, key=widths.__getitem__)] -= 1
    return kept, list(widths.values())


def _least(
    columns: Sequence[Column],
    texts: Sequence[Sequence[str]],
    natural: Sequence[int],
    floors: Sequence[int],
) -> list[int]:
    """Return the least width of each column in characters."""
    least = list(natural)
    for i, column in enumerate(columns):
        if column.fit == "whole":
            continue
        # A cell with a ":" may be an address, which must not be cut.
        whole = [cell_len(r[i]) for r in texts if column.fit == "middle" and ":" in r[i]]
        least[i] = min(natural[i], max([floors[i], cell_len(column.title), *whole]))
    return least


def _total(widths: Iterable[int]) -> int:
    each = list(widths)
    return sum(each) + _GAP * (len(each) - 1)


def _cut(text: str, width: int, fit: Fit, dots: str) -> str:
    """Cut a cell to ``width`` characters, if its column allows that."""
    room = width - len(dots)
    if fit == "whole" or cell_len(text) <= width:
        return text
    if fit == "middle":
        tail = room // 2
        return set_cell_size(text, room - tail) + dots + set_cell_size(text[::-1], tail)[::-1]
    # Only whole words stay: a part of an address would look like another address.
    ends = [match.start() for match in _WORD_END.finditer(text)]
    fitting = [end for end in ends if cell_len(text[:end]) < room]
    return f"{text[: fitting[-1]].rstrip(',;:')} {dots}" if fitting else dots


def _rich(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Text]],
    padding: tuple[int, int] | tuple[int, int, int, int],
) -> RichTable:
    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=padding)
    for column in columns:
        made.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def _full(shown: Table) -> RichTable:
    rows = ([Text(cell(each.full), each.style) for each in row] for row in shown.rows)
    return _rich(shown.columns, rows, padding=(0, 1))
