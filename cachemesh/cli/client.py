"""`cachemesh client`: lists the apps that follow a pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from cachemesh.cli.context import CommandContext, with_context
from cachemesh.cli.output import emit
from cachemesh.cli.tables import Column, moment, show, table


@click.group(no_args_is_help=False)
def client() -> None:
    """Clients: the apps that follow a pool."""


@client.command("list")
@with_context
def list_clients(context: CommandContext) -> None:
    """List the clients that follow a pool, with the version each acts on."""
    data = context.get("clients")
    emit(context.output, data, lambda: show_clients(data["clients"], context.wide))


def show_clients(clients: Iterable[Mapping[str, Any]], wide: bool) -> None:
    """Print a table of clients; ``wide``: with all columns."""
    rows = [
        [
            entry["client"],
            entry["version"],
            entry.get("app") or "-",
            entry.get("host") or entry["address"],
            entry.get("process"),
            entry.get("lease", "-"),
            "-" if entry["seen"] is None else moment(entry["seen"]),
            entry["address"],
            entry.get("sdk") or "-",
            entry.get("metaserver") or "-",
            ", ".join(f"{key}={value}" for key, value in (entry.get("stats") or {}).items()) or "-",
        ]
        for entry in clients
    ]
    columns = (
        Column("client", fit="middle"),
        "version>",
        Column("app", rank=5, fit="middle"),
        Column("host", rank=7, fit="middle"),
        Column("process", right=True, rank=6),
        Column("lease", rank=8),
        "seen",
        Column("address", rank=3),
        Column("sdk", rank=2),
        Column("metaserver", rank=4),
        Column("stats", rank=1, fit="end"),
    )
    show(table(columns, rows), wide=wide)
