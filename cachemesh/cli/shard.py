"""`cachemesh shard`: the shards of a pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click
from rich.table import Table

from cachemesh.cli.change import Change, Flags, carry_out, change_options
from cachemesh.cli.context import Session, connected
from cachemesh.cli.failover import failover
from cachemesh.cli.output import emit, percent, show, show_fields, size, table
from cachemesh.core.names import check_name, parse_address

_WEIGHT = click.IntRange(1, 1000)


@click.group(no_args_is_help=False)
def shard() -> None:
    """Shards: a master and its replicas, each holding a part of a pool."""


shard.add_command(failover)


@shard.command("list")
@connected
def list_shards(session: Session) -> None:
    """List a pool's shards and how they do."""
    data = session.get("shards")
    emit(session.output, data, lambda: show(shard_table(data["shards"])))


@shard.command("show")
@click.argument("name")
@connected
def show_shard(session: Session, name: str) -> None:
    """Show one shard: its instances, and what the Sentinels think of it."""
    data = session.get("shards", check_name("shard", name))
    emit(session.output, data, lambda: _show(data))


@shard.command()
@click.argument("name")
@click.argument("address", metavar="HOST:PORT")
@click.option("--weight", type=_WEIGHT, help="Its share, relative to the other shards' [1].")
@click.option("--allow-nonempty", is_flag=True, help="Take a master that already holds keys.")
@change_options
@connected
def add(
    session: Session,
    name: str,
    address: str,
    weight: int | None,
    allow_nonempty: bool,
    dry_run: bool,
    yes: bool,
    wait: float,
) -> None:
    """Add a shard whose master runs at HOST:PORT."""
    body: dict[str, Any] = {
        "name": check_name("shard", name),
        "master": str(parse_address(address)),
    }
    if weight is not None:
        body["weight"] = weight
    if allow_nonempty:
        body["allow_nonempty"] = True
    change = Change(f"add shard {name}", "POST", session.path("shards"), body)
    carry_out(session, change, Flags(dry_run, yes, wait))


@shard.command()
@click.argument("name")
@change_options
@connected
def remove(session: Session, name: str, dry_run: bool, yes: bool, wait: float) -> None:
    """Remove a shard; its keys go cold. Its instances keep running."""
    path = session.path("shards", check_name("shard", name))
    change = Change(f"remove shard {name}", "DELETE", path)
    carry_out(session, change, Flags(dry_run, yes, wait))


# A negative weight shall be refused as a weight, not as an option nobody knows.
@shard.command("set-weight", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("weight", type=_WEIGHT)
@change_options
@connected
def set_weight(
    session: Session, name: str, weight: int, dry_run: bool, yes: bool, wait: float
) -> None:
    """Give a shard a larger or smaller share of the keys."""
    path = session.path("shards", check_name("shard", name))
    change = Change(f"set the weight of shard {name}", "PATCH", path, {"weight": weight})
    carry_out(session, change, Flags(dry_run, yes, wait))


def shard_table(shards: Iterable[Mapping[str, Any]]) -> Table:
    """Shards, one a row, as the metaserver's status tells of them."""
    rows = []
    for entry in shards:
        master = entry["master"]
        rows.append(
            [
                entry["name"],
                entry["state"],
                entry["weight"],
                percent(entry["share"]),
                master["address"],
                master.get("keys"),
                master.get("ops_per_second"),
                percent(master.get("hit_ratio")),
                size(master.get("used_memory")),
                ", ".join(_replica(replica) for replica in entry["replicas"]) or "-",
                entry["sentinel"]["detail"],
            ]
        )
    columns = ["shard", "state", "weight>", "share>", "master", "keys>", "ops/s>", "hits>"]
    return table([*columns, "memory>", "replicas", "sentinel"], rows)


def _replica(replica: Mapping[str, Any]) -> str:
    if not replica["up"]:
        return f"{replica['address']} down"
    if replica.get("link") != "up":
        return f"{replica['address']} link {replica.get('link') or 'unknown'}"
    return f"{replica['address']} ok"


def _show(data: Mapping[str, Any]) -> None:
    sentinel = data["sentinel"]
    show_fields(
        [
            ("shard", data["name"]),
            ("state", data["state"]),
            ("reason", data.get("reason")),
            ("weight", data["weight"]),
            ("slots", data["slots"]),
            ("share", percent(data["share"])),
            ("sentinel", sentinel["detail"]),
            ("quorum", sentinel["quorum"]),
            ("sentinels agree", sentinel["agree"]),
            ("failover under way", sentinel["failover"]),
        ]
    )
    click.echo()
    columns = ["instance", "role", "up", "keys>", "ops/s>", "hits>", "memory>", "link", "lag>"]
    instances = [data["master"], *data["replicas"]]
    rows = [
        [
            instance["address"],
            instance.get("role"),
            instance["up"],
            instance.get("keys"),
            instance.get("ops_per_second"),
            percent(instance.get("hit_ratio")),
            size(instance.get("used_memory")),
            instance.get("link"),
            size(instance.get("lag_bytes")),
            instance.get("error"),
        ]
        for instance in instances
    ]
    show(table([*columns, "error"], rows))
