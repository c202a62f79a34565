"""How the CLI shows a resize under way: in full, in one line, and as bars that grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table as Grid
from rich.text import Text

from cachemesh.cli.output import duration, percent, printable, show_fields, size
from cachemesh.cli.tables import Cell, Column, Table, fitted, show, state, table
from cachemesh.core.plurals import counted

Resize = Mapping[str, Any]
"""`resize` of a pool's status, as docs/api.md has it."""

_SOURCES = (
    Column("from", fit="middle"),
    Column("to", fit="middle", rank=3),
    Column("state"),
    Column("moved", right=True),
    Column("bytes", right=True, rank=1),
    Column("left", right=True, rank=2),
    Column("why it waits", fit="end", comfortable=30),
)
_WIDEST_BAR = 40


def phase(resize: Resize) -> str:
    """Return in one or a few words what is done now."""
    words = [resize["state"]]
    if resize["back"]:
        words.append("back")
    told = " ".join(words)
    if resize["paused"]:
        told += ", paused"
    return told + (f", attempt {resize['attempt']}" if resize["attempt"] > 1 else "")


def progress_line(resize: Resize) -> str:
    """Return in one line how far a resize is, and what it waits for."""
    parts = [phase(resize)]
    if resize["strategy"] == "move":
        if resize["stages"] > 1:
            parts.append(_stage(resize))
        parts += [each for each in (_done(resize), _pace(resize), _time_left(resize)) if each]
    if resize["detail"] not in ("", "keys move"):
        parts.append(resize["detail"])
    return printable(", ".join(parts))


def show_migration_line(data: Mapping[str, Any]) -> None:
    """Print that a migration goes on, and how far it is.

    Args:
        data: has the ``resize`` of a pool's status, which may be None.
    """
    if data.get("resize"):
        click.echo()
        click.echo(f"migration: {progress_line(data['resize'])}")


def show_resize(resize: Resize, wide: bool) -> None:
    """Print all that is known of a resize; ``wide``: its table with all columns."""
    show_fields(_fields(resize))
    if resize["sources"]:
        click.echo()
        show(_sources(resize), wide=wide)


def _fields(resize: Resize) -> list[tuple[str, object]]:
    fields = [
        ("resize", resize["summary"]),
        ("asked for by", resize["actor"]),
        ("began", resize["began"]),
        ("strategy", resize["strategy"]),
        ("state", phase(resize)),
        ("waits for", _waits_for(resize)),
        *([("lost", ", ".join(resize["lost"]))] if resize.get("lost") else []),
        ("longest hold", duration(resize["longest_hold"])),
    ]
    if resize["strategy"] != "move":
        return fields
    left = "unknown how many" if resize["left"] is None else f"about {resize['left']:,}"
    moving = [
        ("stage", _stage(resize).removeprefix("stage ")),
        ("done", percent(resize["share"]) + (" of this stage" if resize["stages"] > 1 else "")),
        ("keys", f"{resize['moved']:,} moved, {left} left"),
        ("rate", _pace(resize) or "-"),
        ("at most", _bounds(resize)),
        ("time left", _time_left(resize).removesuffix(" left") or "-"),
    ]
    return [*fields, *moving]


def _waits_for(resize: Resize) -> str:
    return "-" if resize["detail"] in ("", "keys move") else resize["detail"]


def _stage(resize: Resize) -> str:
    return f"stage {resize['stage'] + 1} of {resize['stages']}"


def _done(resize: Resize) -> str:
    share = resize["share"]
    if share is None:
        return f"{resize['moved']:,} keys moved" if resize["moved"] else ""
    return f"{percent(share)}, {resize['moved']:,} keys moved, {resize['left']:,} left"


def _pace(resize: Resize) -> str:
    if resize["state"] != "moving" or resize["paused"]:
        return ""
    return f"{resize['rate']:,.0f} keys/s"


def _bounds(resize: Resize) -> str:
    bounds = []
    if resize["keys_per_second"]:
        bounds.append(f"{resize['keys_per_second']:,} keys/s")
    if resize["max_latency"]:
        bounds.append(f"as shards answer within {resize['max_latency']:,} ms")
    return ", ".join(bounds) or "-"


def _time_left(resize: Resize) -> str:
    seconds = resize["seconds_left"]
    return "" if seconds is None or resize["paused"] else f"{span(seconds)} left"


def span(seconds: float) -> str:
    """Format a time that takes from seconds to days, in at most two units."""
    whole = round(seconds)
    for unit, name, below, lesser in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // below} {lesser}"
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


def _sources(resize: Resize) -> Table:
    rows = [
        (
            source["shard"],
            Cell(source["to"], _short(source["to"])),
            _source_state(source, resize),
            source["moved"],
            size(source["bytes_moved"]),
            source["left"],
            source["detail"],
        )
        for source in resize["sources"]
    ]
    return table(_SOURCES, rows)


def _short(shards: list[str]) -> str:
    return shards[0] if len(shards) == 1 else f"{len(shards)} shards"


def _source_state(source: Mapping[str, Any], resize: Resize) -> Cell:
    if resize["paused"] and source["state"] == "moving":
        return state("paused")
    word = source["state"]
    return Cell(word, word, "red" if source["detail"] else "green" if word == "done" else "")


def bars(resize: Resize, width: int) -> RenderableType:
    """Return what a terminal shows of a resize: a bar for each stage, and a line for each source.

    Args:
        width: of the terminal, in characters.
    """
    lines = [Text(printable(resize["summary"]), "bold"), Text(_head(resize))]
    if resize["detail"] not in ("", "keys move"):
        lines.append(Text(printable(resize["detail"]), "yellow"))
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    if resize["strategy"] != "move":
        return Group(*lines)
    return Group(*lines, _stage_bars(resize, width), Text(), fitted(_sources(resize), width))


def _head(resize: Resize) -> str:
    """Return the line that says what goes on."""
    parts = [phase(resize)]
    if resize["strategy"] == "move":
        sizes = [each["bytes_moved"] for each in resize["sources"]]
        moved = sum(each for each in sizes if each is not None)
        parts[0] += f": {counted(resize['moved'], 'key')}" + (f" ({size(moved)})" if moved else "")
        parts[0] += " moved" + ("" if resize["left"] is None else f", {resize['left']:,} left")
    if resize["longest_hold"]:
        parts.append(f"longest hold {duration(resize['longest_hold'])}")
    return "; ".join(parts)


def _stage_bars(resize: Resize, width: int) -> Grid:
    grid = Grid.grid(padding=(0, 2, 0, 0))
    for stage in range(resize["stages"]):
        share = _share_of(stage, resize)
        now = stage == resize["stage"]
        name = f"stage {stage + 1}" if resize["stages"] > 1 else "keys"
        bar = ProgressBar(1.0, share or 0.0, width=min(_WIDEST_BAR, max(10, width - 50)))
        grid.add_row(name, bar, Text(percent(share), justify="right"), _figures(resize, now))
    return grid


def _share_of(stage: int, resize: Resize) -> float | None:
    if stage == resize["stage"]:
        return None if resize["share"] is None else float(resize["share"])
    passed = stage > resize["stage"] if resize["back"] else stage < resize["stage"]
    return 1.0 if passed else 0.0


def _figures(resize: Resize, now: bool) -> Text:
    if not now:
        return Text("")
    parts = [_pace(resize), _time_left(resize)]
    return Text(", ".join(part for part in parts if part) or "-", no_wrap=True)
