"""`cachemesh quality`: what apps feel of each shard, live as `top` shows processes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import click
from rich.console import Group
from rich.live import Live

from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.output import console, emit, latency, say
from cachemesh.cli.tables import Column, Table, fitted, show, table

_EVERY = 1.0  # seconds between two looks
_CLIENTS_SHOWN = 10


@click.command("quality")
@click.option(
    "--seconds",
    type=click.IntRange(1, 3600),
    default=60,
    show_default=True,
    help="The time, up to now, that the figures are of.",
)
@click.option("--once", is_flag=True, help="Print the figures once, also on a terminal.")
@with_context
def quality(context: CommandContext, seconds: int, once: bool) -> None:
    """Show what apps feel of each shard: calls, errors, latencies; live on a terminal."""
    screen = console()
    if once or not screen.is_terminal or context.output not in ("table", "wide"):
        data = _felt(context, seconds)
        emit(context.output, data, lambda: _print(data, wide=context.wide))
        return
    with Live(console=screen, screen=True, auto_refresh=False) as live:
        while True:
            data = _felt(context, seconds)
            tables = [_shards(data["shards"]), _clients(data["clients"])]
            shown = (fitted(each, screen.width, "…") for each in tables)
            live.update(Group(*shown, *_notes(data)), refresh=True)
            time.sleep(_EVERY)


def _felt(context: CommandContext, seconds: int) -> Any:
    return context.metaserver.request("GET", context.path("quality"), query={"seconds": seconds})


def _print(data: Mapping[str, Any], *, wide: bool) -> None:
    show(_shards(data["shards"]), wide=wide)
    if data["clients"]:
        click.echo()
        show(_clients(data["clients"]), wide=wide)
    for note in _notes(data):
        say(note)


def _notes(data: Mapping[str, Any]) -> list[str]:
    """Return what a reader has to know of the figures, besides them."""
    notes = []
    if not data.get("reporting", 1):
        notes.append("no client has reported in the last minute")
    if data.get("silent"):
        notes.append(f"without the clients of {', '.join(data['silent'])}, which tells nothing")
    return notes


def _shards(shards: Iterable[Mapping[str, Any]]) -> Table:
    first = Column("shard", fit="middle")
    return _table((first, "breakers>"), [((s["shard"], _breakers(s)), s) for s in shards])


def _clients(clients: Iterable[Mapping[str, Any]]) -> Table:
    worst = [((each["client"],), each) for each in clients][:_CLIENTS_SHOWN]
    return _table((Column("client", fit="middle"),), worst)


def _breakers(shard: Mapping[str, Any]) -> str:
    """Return in how many clients the breaker is not closed."""
    return ", ".join(f"{count} {state}" for state, count in shard["breakers"].items()) or "-"


def _table(
    first: tuple[Column | str, ...], rows: Iterable[tuple[tuple[str, ...], Mapping[str, Any]]]
) -> Table:
    figures = ("calls/s>", "errors/s>", "p50>", "p99>", "max>", Column("errors", fit="end"))
    return table(
        (*first, *figures),
        [
            (
                *names,
                f"{felt['calls_per_second']:.1f}",
                f"{felt['errors_per_second']:.2f}",
                *(latency(felt[share]) for share in ("p50", "p99", "max")),
                ", ".join(f"{kind}: {count}" for kind, count in felt["errors"].items()) or "-",
            )
            for names, felt in rows
        ],
    )
