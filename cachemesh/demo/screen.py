"""Shows the demo: a progress bar on a terminal, plain lines elsewhere, tables at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from cachemesh.demo.timeline import Happening
from cachemesh.replay import ReplayProgress, ReplayResult, ReplayWindow

_LINE_EVERY_S = 5.0
_BARS = "▁▂▃▄▅▆▇█"


class Screen:
    """Prints lines, which any thread may send, and the progress bar of the running load."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("load"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[now]}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("load", total=1.0, now="", start=False)
        self._next_line = _LINE_EVERY_S

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show the bar, where there is a terminal, until the block ends."""
        if self.console.is_terminal:
            self._bar.start()
            self._bar.start_task(self._task)
        try:
            yield
        finally:
            self._bar.stop()

    def line(self, text: str) -> None:
        """Print one line as it is."""
        self.console.print(Text(text))

    def happening(self, happening: Happening) -> None:
        """Print a line of the timeline."""
        self.console.print(Text(f"  {happening}"), soft_wrap=True)

    def progress(self, made: ReplayProgress, share: float) -> None:
        """Show the state of the load.

        Args:
            made: the replay's state.
            share: how much of the load is done, from 0 to 1.
        """
        if self.console.is_terminal:
            self._bar.update(self._task, completed=min(share, 1.0), now=_now(made))
        elif made.seconds >= self._next_line:
            self._next_line += _LINE_EVERY_S
            self.line(f"  {made.seconds:5.1f} s  {_now(made)}")


def _now(made: ReplayProgress) -> str:
    latest = made.windows[-1].operations_per_second if made.windows else made.operations_per_second
    hits = "-" if made.hit_ratio is None else f"{made.hit_ratio:.1%}"
    return f"{latest:,.0f} ops/s, {hits} hits, {made.errors:,} errors"


def result_table(workload: str, result: ReplayResult, windows: Sequence[ReplayWindow]) -> Table:
    """Return the table of what the app measured.

    Args:
        workload: the load in words.
        result: of the replay.
        windows: its seconds, oldest first.
    """
    table = Table(title="What the app saw", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("workload", workload)
    table.add_row(
        "operations",
        f"{result.operations:,} in {result.seconds:.1f} s "
        f"({result.operations_per_second:,.0f} a second)",
    )
    ratio = "-" if result.hit_ratio is None else f"{result.hit_ratio:.1%}"
    table.add_row("hit ratio", f"{ratio} ({result.hits:,} hits, {result.misses:,} misses)")
    table.add_row("errors", _errors(result))
    table.add_row("wrong values", f"{result.wrong:,}")
    latency = result.latency
    table.add_row("latency p50", _milliseconds(latency.p50_us))
    table.add_row("latency p99", _milliseconds(latency.p99_us))
    table.add_row("slowest", _milliseconds(result.max_us))
    table.add_row("ops, each second", _spark([w.operations_per_second for w in windows]))
    table.add_row("hits, each second", _spark([w.hit_ratio or 0.0 for w in windows]))
    return table


def keys_table(status: Mapping[str, Any]) -> Table:
    """Return the table of each shard's keys and slots, from the metaserver's status."""
    table = Table(title="Shards", title_justify="left")
    for name in ("shard", "master"):
        table.add_column(name)
    for name in ("keys", "share of keys", "slots"):
        table.add_column(name, justify="right")
    keys = {shard["name"]: shard["master"]["keys"] or 0 for shard in status["shards"]}
    total = sum(keys.values()) or 1
    for shard in status["shards"]:
        name = shard["name"]
        table.add_row(
            name,
            shard["master"]["address"],
            f"{keys[name]:,}",
            f"{keys[name] / total:.1%}",
            f"{shard['slots']:,}",
        )
    return table


def timeline_table(happenings: Sequence[Happening]) -> Table:
    """Return the table of what happened when."""
    table = Table(title="What happened when", title_justify="left", show_header=False)
    table.add_column(justify="right")
    table.add_column()
    for happening in happenings:
        table.add_row(f"{happening.at:.1f} s", happening.what)
    return table


def _errors(result: ReplayResult) -> str:
    if not result.errors:
        return "0"
    window = result.error_window
    when = "" if window is None else f", between {window.first_s:.1f} s and {window.last_s:.1f} s"
    kinds = ", ".join(f"{count:,} {name}" for name, count in result.errors_by_class.items())
    share = result.errors / result.operations
    return f"{result.errors:,} ({share:.3%} of the operations){when}: {kinds}"


def _milliseconds(microseconds: float | None) -> str:
    return "-" if microseconds is None else f"{microseconds / 1000:,.2f} ms"


def _spark(values: Sequence[float]) -> str:
    top = max(values, default=0.0)
    if not top:
        return "-"
    return "".join(_BARS[round(value / top * (len(_BARS) - 1))] for value in values)
