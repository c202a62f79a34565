"""Data on stdout, everything said about it on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any, Literal

import click
import yaml
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

Output = Literal["table", "wide", "json", "yaml"]
OUTPUTS: tuple[Output, ...] = ("table", "wide", "json", "yaml")
OUTPUT_HELP = "How to print data [table, with the columns that fit the terminal; wide has all]."
_WIDEST = 10_000


def console(*, err: bool = False) -> Console:
    """A console for plain text: no markup, no highlighting, colours on a terminal only."""
    return Console(
        file=sys.stderr if err else sys.stdout, markup=False, highlight=False, emoji=False
    )


def emit(output: Output, data: Any, show: Callable[[], None]) -> None:
    """The data of a command on stdout: as JSON, as YAML, or as ``show`` prints it."""
    if output == "json":
        click.echo(json.dumps(data, indent=2))
    elif output == "yaml":
        click.echo(yaml.safe_dump(data, sort_keys=False), nl=False)
    else:
        show()


def say(message: str) -> None:
    """One line about what is going on, on stderr."""
    click.echo(printable(message), err=True)


def show_fields(fields: Iterable[tuple[str, object]], *, err: bool = False) -> None:
    """Names and values, one pair a line."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(overflow="fold")
    for name, value in fields:
        grid.add_row(name, cell(value))
    target = console(err=err)
    if not target.is_terminal:
        target.width = max(widest(target, grid), 1)
    target.print(grid)


def widest(target: Console, made: Table) -> int:
    """How many characters wide something is if nothing of it is folded."""
    return Measurement.get(target, target.options.update(width=_WIDEST), made).maximum


def cell(value: object) -> str:
    """A value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(item) for item in value) or "-"
    return printable(str(value))


def printable(text: str) -> str:
    """Text from elsewhere without what a terminal would act upon."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def percent(share: float | None) -> str:
    """A share of 1 in percent."""
    return "-" if share is None else f"{share:.1%}"


def size(count: int | None) -> str:
    """Bytes, in the unit that fits."""
    if count is None:
        return "-"
    amount, units = float(count), iter(("B", "KiB", "MiB", "GiB"))
    unit = next(units)
    while amount >= 1024 and (larger := next(units, None)):
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def duration(seconds: float) -> str:
    """Seconds as a person reads them."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
