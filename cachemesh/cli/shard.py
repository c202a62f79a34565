"""`cachemesh shard`: the shards of a pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from cachemesh.cli.change import Change, Flags, carry_out, change_options
from cachemesh.cli.context import Session, connected
from cachemesh.cli.output import emit, percent, show_fields, size
from cachemesh.cli.shard_failover import failover
from cachemesh.cli.shard_forget import forget
from cachemesh.cli.tables import Cell, Column, Table, show, state, table
from cachemesh.core.names import check_name, parse_address

_WEIGHT = click.IntRange(1, 1000)
_SHARDS = (
    Column("shard", fit="middle"),
    Column("state"),
    Column("weight", right=True, rank=1),
    Column("share", right=True, rank=4),
    Column("master"),
    Column("keys", right=True, rank=6),
    Column("ops/s", right=True, rank=5),
    Column("hits", right=True, rank=2),
    Column("memory", right=True, rank=3),
    Column("replicas", rank=8),
    Column("sentinel", rank=7),
)
_INSTANCES = (
    Column("instance"),
    Column("role"),
    Column("up"),
    Column("keys", right=True, rank=4),
    Column("ops/s", right=True, rank=3),
    Column("hits", right=True, rank=1),
    Column("memory", right=True, rank=2),
    Column("link", rank=6),
    Column("lag", right=True, rank=5),
    Column("error", rank=7, fit="end"),
)


@click.group(no_args_is_help=False)
def shard() -> None:
    """Shards: a master and its replicas, each holding a part of a pool."""


shard.add_command(failover)
shard.add_command(forget)


@shard.command("list")
@connected
def list_shards(session: Session) -> None:
    """List a pool's shards and how they do."""
    data = session.get("shards")
    emit(session.output, data, lambda: show(shard_table(data["shards"]), wide=session.wide))


@shard.command("show")
@click.argument("name")
@connected
def show_shard(session: Session, name: str) -> None:
    """Show one shard: its instances, and what the Sentinels think of it."""
    data = session.get("shards", check_name("shard", name))
    emit(session.output, data, lambda: _show(data, session.wide))


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
                state(entry["state"]),
                entry["weight"],
                percent(entry["share"]),
                master["address"],
                master.get("keys"),
                master.get("ops_per_second"),
                percent(master.get("hit_ratio")),
                size(master.get("used_memory")),
                _replicas(entry["replicas"]),
                _sentinels(entry["sentinel"]),
            ]
        )
    return table(_SHARDS, rows)


def _replicas(replicas: Sequence[Mapping[str, Any]]) -> Cell:
    told = [(replica["address"], _condition(replica)) for replica in replicas]
    fine = sum(condition == "ok" for _, condition in told)
    return Cell(
        ", ".join(f"{address} {condition}" for address, condition in told) or "-",
        f"{fine}/{len(told)}" if told else "none",
        "" if fine == len(told) else "red",
    )


def _condition(replica: Mapping[str, Any]) -> str:
    if not replica["up"]:
        return "down"
    return "ok" if replica.get("link") == "up" else f"link {replica.get('link') or 'unknown'}"


def _sentinels(sentinel: Mapping[str, Any]) -> Cell:
    trouble = "" if sentinel["agree"] else " split"
    if not sentinel["usable"]:
        trouble = " NOQUORUM"
    short = f"{sentinel['seen_by']}/{sentinel['of']} q{sentinel['quorum']}{trouble}"
    return Cell(sentinel["detail"], short, "red" if trouble else "")


def _show(data: Mapping[str, Any], wide: bool) -> None:
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
    show(table(_INSTANCES, rows), wide=wide)
