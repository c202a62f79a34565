"""`cachemesh client`: lists the apps that follow a pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import click

from cachemesh.cli import completing
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.cli.output import emit, say, show_fields
from cachemesh.cli.tables import Column, moment, show, table
from cachemesh.cli.watchable import watchable
from cachemesh.core.pool.settings import SETTINGS


@click.group(no_args_is_help=False)
def client() -> None:
    """Clients: the apps that follow a pool."""


@client.command("list")
@with_context
@watchable
def list_clients(context: CommandContext) -> None:
    """List the clients that follow a pool, with the version each acts on."""
    data = context.get("clients")
    emit(context.output, data, lambda: show_clients(data["clients"], context.wide))


@client.command("show")
@click.argument("client_id", metavar="CLIENT", shell_complete=completing.clients)
@with_context
@watchable
def show_client(context: CommandContext, client_id: str) -> None:
    """Show one client: where it runs, and which settings it acts on.

    A change of settings is applied by a running client at once; the column `from` tells which
    values it has from its own options (`client`), from the pool, or by default.
    """
    found = _found(context, client_id)
    document = context.get()
    shown = {
        "client": found,
        "version": document["version"],
        "settings": _settings(document["settings"], found.get("settings") or {}),
    }
    emit(context.output, shown, lambda: _print_client(shown, context.wide))


def _found(context: CommandContext, client_id: str) -> Mapping[str, Any]:
    """Return a live client, or one that lags though its lease is over."""
    for path, name in (("clients", "clients"), ("convergence", "laggards")):
        for entry in context.get(path)[name]:
            if entry["client"] == client_id:
                return cast("Mapping[str, Any]", entry)
    raise CommandError(
        f"client {client_id!r:.80}",
        f"no client of pool {context.pool!r} has this id",
        "see: cachemesh client list",
        ExitCode.NOT_FOUND_OR_CONFLICT,
    )


def _settings(pool: Mapping[str, Any], own: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return every setting with the value that the client acts on, and where it is from."""
    found = []
    for name in [*SETTINGS, *(name for name in own if name not in SETTINGS)]:
        default = SETTINGS[name].default if name in SETTINGS else None
        of_pool = pool.get(name, default)
        origin = "client" if name in own else "pool" if name in pool else "default"
        value = own.get(name, of_pool)
        found.append({"setting": name, "value": value, "from": origin, "pool": of_pool})
    return found


def _print_client(shown: Mapping[str, Any], wide: bool) -> None:
    entry = shown["client"]
    names = ("client", "app", "host", "process", "address", "sdk", "metaserver", "lease", "seen")
    fields = [(name, "-" if entry.get(name) is None else entry[name]) for name in names]
    behind = entry["version"] < shown["version"]
    version = (
        f"{entry['version']} (the pool has {shown['version']})" if behind else entry["version"]
    )
    show_fields([*fields, ("version", version)])
    click.echo()
    columns = ("setting", "value", "from", Column("pool", rank=1))
    rows = [
        [_word(each[name]) for name in ("setting", "value", "from", "pool")]
        for each in shown["settings"]
    ]
    show(table(columns, rows), wide=wide)
    if behind:
        say("it acts on an older version: settings changed since are not applied yet")


def _word(value: object) -> str:
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)


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
            ", ".join(f"{n}={value}" for n, value in (entry.get("settings") or {}).items()) or "-",
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
        Column("own settings", rank=1, fit="end"),
        Column("stats", rank=1, fit="end"),
    )
    show(table(columns, rows), wide=wide)
