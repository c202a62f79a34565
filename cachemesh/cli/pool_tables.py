"""How the CLI shows a pool's document and status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cachemesh.cli.client import show_clients
from cachemesh.cli.migration_tables import show_migration_line
from cachemesh.cli.output import printable, show_fields
from cachemesh.cli.pool_pause import pause_line
from cachemesh.cli.shard_tables import shard_table
from cachemesh.cli.tables import Column, show, state, table
from cachemesh.core.plurals import counted


def show_document(document: Mapping[str, Any], wide: bool) -> None:
    """Print a pool's document; ``wide``: with all columns."""
    placement = document["placement"]
    fields = [
        ("pool", document["pool"]),
        ("version", document["version"]),
        ("placement", f"{placement['strategy']}, hash {placement.get('hash', '-')}"),
        ("sentinels", document["sentinels"]),
        *([("pause", pause_line(document["pause"]))] if document.get("pause") else []),
        *((f"setting {key}", value) for key, value in document["settings"].items()),
    ]
    show_fields(fields)
    rows = []
    for shard in placement["shards"]:
        slots = shard.get("slots", [])
        ranges = ", ".join(f"{a}-{b}" if a != b else f"{a}" for a, b in slots)
        count = sum(b - a + 1 for a, b in slots) if slots else None
        rows.append([shard["name"], shard.get("weight", 1), count, ranges or "-"])
    click.echo()
    columns = (Column("shard", fit="middle"), "weight>", "slots>", Column("ranges", fit="end"))
    show(table(columns, rows), wide=wide)


def show_status(data: Mapping[str, Any], wide: bool) -> None:
    """Print a pool's status; ``wide``: with all columns."""
    clients = counted(data["clients"], "client")
    click.echo(
        printable(
            f"pool {data['pool']}, version {data['version']}: {data['health']}, "
            f"{clients}, at {data['at']}"
        )
    )
    if data.get("observer"):
        click.echo("observed: as Sentinels have it, read only; changes need a full metaserver")
    if data.get("pause"):
        click.echo(f"{pause_line(data['pause'])}; go on: cachemesh pool resume")
    show(shard_table(data["shards"]), wide=wide)
    sentinels = [
        (entry["address"], state("up" if entry["up"] else "down"), entry.get("error") or "")
        for entry in data["sentinels"]
    ]
    click.echo()
    show(table(["sentinel", "state", Column("reason", fit="end")], sentinels), wide=wide)
    show_migration_line(data)
    if data.get("fenced"):
        click.echo(printable(f"fenced until they acknowledge: {', '.join(data['fenced'])}"))
    if data["sweeps"]:
        click.echo()
        rows = [[s["shard"], s["state"], s["removed"], s["detail"]] for s in data["sweeps"]]
        columns = (
            Column("sweep of", fit="middle"),
            "state",
            "removed>",
            Column("detail", fit="end"),
        )
        show(table(columns, rows), wide=wide)
    for shard in data["shards"]:
        if shard.get("reason"):
            click.echo(printable(f"{shard['name']}: {shard['reason']}"))


def show_convergence(data: Mapping[str, Any], wide: bool) -> None:
    """Print how many clients act on which version, and those that lag behind."""
    reached = f"{data['acknowledged']} of {counted(data['clients'], 'live client')}"
    told = f"pool {data['pool']}, version {data['version']}: {reached} act on it"
    if data["lease_over"]:
        told += f"; {counted(data['lease_over'], 'client')} whose lease is over may lag behind"
    click.echo(printable(told))
    older = [each for each in data["versions"] if each["version"] < data["version"]]
    if older:
        click.echo()
        rows = [[each["version"], each["clients"]] for each in older]
        show(table(("version>", "live clients>"), rows), wide=wide)
    if data["laggards"]:
        click.echo()
        show_clients(data["laggards"], wide)


def next_step(data: Mapping[str, Any]) -> str:
    """Return what to do about a pool whose status is not "ok"."""
    for shard in data["shards"]:
        if shard["state"] in ("down", "degraded"):
            return f"look at shard {shard['name']}: cachemesh shard show {shard['name']}"
    return "look at the Sentinels: cachemesh sentinel list"
