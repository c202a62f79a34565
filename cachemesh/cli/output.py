"""Prints data on stdout and messages on stderr, and formats values for people."""

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
    """Return a console for plain text: no markup, no highlighting, colours on a terminal only."""
    return Console(
        file=sys.stderr if err else sys.stdout, markup=False, highlight=False, emoji=False
    )


def emit(output: Output, data: Any, show: Callable[[], None]) -> None:
    """Print a command's data on stdout: as JSON, as YAML, or by ``show`` as a table."""
    if output == "json":
        click.echo(json.dumps(data, indent=2))
    elif output == "yaml":
        click.echo(yaml.safe_dump(data, sort_keys=False), nl=False)
    else:
        show()


def say(message: str) -> None:
    """Print one line on stderr."""
    click.echo(printable(message), err=True)


def show_fields(fields: Iterable[tuple[str, object]], *, err: bool = False) -> None:
    """Print names and values, one pair a line."""
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
    """Return the width, in characters, of a table of which nothing is folded."""
    return Measurement.get(target, target.options.update(width=_WIDEST), made).maximum


def cell(value: object) -> str:
    """Format a value for people."""
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
    """Escape the characters of a text that a terminal would act upon."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def percent(share: float | None) -> str:
    """Format a share (0 to 1) in percent."""
    return "-" if share is None else f"{share:.1%}"


def size(count: int | None) -> str:
    """Format a number of bytes, in the unit that fits."""
    if count is None:
        return "-"
    amount, units = float(count), iter(("B", "KiB", "MiB", "GiB"))
    unit = next(units)
    while amount >= 1024 and (larger := next(units, None)):
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def duration(seconds: float) -> str:
    """Format a duration given in seconds."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def latency(seconds: float | None) -> str:
    """Format a latency, of which three digits are known."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
