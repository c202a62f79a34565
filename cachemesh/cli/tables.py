"""Tables that fit the terminal: one line a row, and no address is ever broken or cut.

Into a pipe, a file, or with ``-o wide``, a table has all its columns and is as wide as it needs to
be. On a terminal that is too narrow for that it gives way in this order: cells take their short
form, long names and long prose are cut to a comfortable width, columns leave by their rank, and in
the end names and prose are cut further. What still does not fit runs over the edge.
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
        rank: when it leaves a table that is too wide: empty columns first, then the lowest rank;
            None: never.
        fit: what a long cell does: stay ``whole``, lose its ``middle`` (for names), or its ``end``
            after a word (for prose).
        comfortable: characters to which such a cell is cut before any column leaves.
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
        full: the value, where there is room.
        short: the value in a table that is too wide.
        style: of rich, on a terminal that shows colours.
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
    """Make a table. A column given as text never leaves; ">" at its end aligns it to the right."""
    made = [
        Column(each.removesuffix(">"), right=each.endswith(">")) if isinstance(each, str) else each
        for each in columns
    ]
    cells = [[v if isinstance(v, Cell) else Cell(v, v) for v in row] for row in rows]
    return Table(made, cells)


def state(word: str) -> Cell:
    """A state in its colour: yellow for work that is known of, red for what is broken."""
    return Cell(word, word, _STYLES.get(word, ""))


def moment(at: str | None) -> Cell:
    """A time of RFC 3339 in UTC; its short form leaves out the year and the fraction."""
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
    """A table in its short form, in at most ``width`` characters if that is possible at all."""
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
    """Which columns stay, by their index, and how many characters wide each of them is."""
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
    """To how many characters each column may be cut."""
    least = list(natural)
    for i, column in enumerate(columns):
        if column.fit == "whole":
            continue
        # What holds a ":" may be an address, of which no part may be missing.
        whole = [cell_len(r[i]) for r in texts if column.fit == "middle" and ":" in r[i]]
        least[i] = min(natural[i], max([floors[i], cell_len(column.title), *whole]))
    return least


def _total(widths: Iterable[int]) -> int:
    each = list(widths)
    return sum(each) + _GAP * (len(each) - 1)


def _cut(text: str, width: int, fit: Fit, dots: str) -> str:
    """A cell in at most ``width`` characters, if its column allows to cut it."""
    room = width - len(dots)
    if fit == "whole" or cell_len(text) <= width:
        return text
    if fit == "middle":
        tail = room // 2
        return set_cell_size(text, room - tail) + dots + set_cell_size(text[::-1], tail)[::-1]
    # Only whole words stay: the beginning of an address would look like another address.
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
