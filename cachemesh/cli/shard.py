"""`cachemesh shard`: the shards of a pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cachemesh.cli import completing
from cachemesh.cli.change import ChangeFlags, PlannedChange, carry_out, change_options
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.migration_tables import show_migration_line
from cachemesh.cli.output import emit
from cachemesh.cli.resize_options import resize_options
from cachemesh.cli.shard_connections import connections
from cachemesh.cli.shard_failover import failover
from cachemesh.cli.shard_forget import forget
from cachemesh.cli.shard_slowlog import slowlog
from cachemesh.cli.shard_tables import shard_table, show_shard_details
from cachemesh.cli.tables import show
from cachemesh.cli.watchable import watchable
from cachemesh.core.names import check_name, parse_address

_WEIGHT = click.IntRange(1, 1000)


@click.group(no_args_is_help=False)
def shard() -> None:
    """Shards: a master and its replicas, each holding a part of a pool."""


shard.add_command(connections)
shard.add_command(failover)
shard.add_command(forget)
shard.add_command(slowlog)


@shard.command("list")
@with_context
@watchable
def list_shards(context: CommandContext) -> None:
    """List a pool's shards and how they do."""
    status = context.get("status")
    data = {"shards": status["shards"]}
    emit(context.output, data, lambda: _show_shards(status, context.wide))


def _show_shards(status: Mapping[str, Any], wide: bool) -> None:
    show(shard_table(status["shards"]), wide=wide)
    show_migration_line(status)


@shard.command("show")
@click.argument("name", shell_complete=completing.shards)
@with_context
@watchable
def show_shard(context: CommandContext, name: str) -> None:
    """Show one shard: its instances, and what the Sentinels think of it."""
    data = context.get("shards", check_name("shard", name))
    emit(context.output, data, lambda: show_shard_details(data, context.wide))


@shard.command()
@click.argument("name")
@click.argument("address", metavar="HOST:PORT")
@click.option("--weight", type=_WEIGHT, help="Its share, relative to the other shards' [1].")
@click.option("--allow-nonempty", is_flag=True, help="Take a master that already holds keys.")
@resize_options
@change_options
@with_context
def add(
    context: CommandContext,
    name: str,
    address: str,
    weight: int | None,
    allow_nonempty: bool,
    how: dict[str, Any],
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
    body |= how
    change = PlannedChange(f"add shard {name}", "POST", context.path("shards"), body)
    carry_out(context, change, ChangeFlags(dry_run, yes, wait))


@shard.command()
@click.argument("name", shell_complete=completing.shards)
@resize_options
@change_options
@with_context
def remove(
    context: CommandContext,
    name: str,
    how: dict[str, Any],
    dry_run: bool,
    yes: bool,
    wait: float,
) -> None:
    """Remove a shard; its instances keep running."""
    path = context.path("shards", check_name("shard", name))
    change = PlannedChange(f"remove shard {name}", "DELETE", path, query=how)
    carry_out(context, change, ChangeFlags(dry_run, yes, wait))


# Else "-1" would be refused as an unknown option, not as a weight.
@shard.command("set-weight", context_settings={"ignore_unknown_options": True})
@click.argument("name", shell_complete=completing.shards)
@click.argument("weight", type=_WEIGHT)
@resize_options
@change_options
@with_context
def set_weight(
    context: CommandContext,
    name: str,
    weight: int,
    how: dict[str, Any],
    dry_run: bool,
    yes: bool,
    wait: float,
) -> None:
    """Give a shard a larger or smaller share of the keys."""
    path = context.path("shards", check_name("shard", name))
    body = {"weight": weight, **how}
    change = PlannedChange(f"set the weight of shard {name}", "PATCH", path, body)
    carry_out(context, change, ChangeFlags(dry_run, yes, wait))
