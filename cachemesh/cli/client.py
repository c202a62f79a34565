"""`cachemesh client`: the apps that use a pool."""

from __future__ import annotations

import click

from cachemesh.cli.context import Session, connected
from cachemesh.cli.output import emit, show, table


@click.group(no_args_is_help=False)
def client() -> None:
    """Clients: the apps that follow a pool."""


@client.command("list")
@connected
def list_clients(session: Session) -> None:
    """List the clients that follow a pool, with the version each has applied."""
    data = session.get("clients")
    rows = [
        [
            entry["client"],
            entry["version"],
            entry["address"],
            entry["seen"],
            ", ".join(f"{key}={value}" for key, value in (entry.get("stats") or {}).items()) or "-",
        ]
        for entry in data["clients"]
    ]
    columns = ["client", "version>", "address", "seen", "stats"]
    emit(session.output, data, lambda: show(table(columns, rows)))
