"""`cachemesh client`: lists the apps that follow a pool."""

from __future__ import annotations

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
    """List the clients that follow a pool, with the version each has applied."""
    data = context.get("clients")
    rows = [
        [
            entry["client"],
            entry["version"],
            entry["address"],
            moment(entry["seen"]),
            ", ".join(f"{key}={value}" for key, value in (entry.get("stats") or {}).items()) or "-",
        ]
        for entry in data["clients"]
    ]
    columns = (
        Column("client", fit="middle"),
        "version>",
        Column("address", rank=2),
        "seen",
        Column("stats", rank=1, fit="end"),
    )
    emit(context.output, data, lambda: show(table(columns, rows), wide=context.wide))
