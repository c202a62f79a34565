"""`cachemesh pool`: list, show, create and delete pools, and show their state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cachemesh.cli import completing
from cachemesh.cli.change import (
    ChangeFlags,
    PlannedChange,
    carry_out,
    change_options,
)
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext, about_pool
from cachemesh.cli.errors import ExitCode
from cachemesh.cli.output import emit, say
from cachemesh.cli.placement_options import GivenPlacement, placement_options
from cachemesh.cli.pool_history import history
from cachemesh.cli.pool_pause import pause, resume
from cachemesh.cli.pool_rebalance import rebalance
from cachemesh.cli.pool_settings import set_settings
from cachemesh.cli.pool_tables import next_step, show_convergence, show_document, show_status
from cachemesh.cli.tables import Column, show, state, table
from cachemesh.cli.watchable import watchable
from cachemesh.core.names import check_name, check_new_pool_name, parse_address


@click.group(no_args_is_help=False)
def pool() -> None:
    """Pools: sets of shards that together hold one cache."""


pool.add_command(set_settings)
pool.add_command(rebalance)
pool.add_command(pause)
pool.add_command(resume)
pool.add_command(history)
pool_name = click.argument("name", required=False, shell_complete=completing.pools)


@pool.command("list")
@with_context
@watchable
def list_pools(context: CommandContext) -> None:
    """List the pools of the metaserver."""
    data = context.metaserver.request("GET", "/v1/pools")
    fields = ("pool", "version", "strategy", "shards")
    rows = [[*map(entry.get, fields), state(entry["health"])] for entry in data["pools"]]
    columns = (Column("pool", fit="middle"), "version>", "strategy", "shards>", "health")
    emit(context.output, data, lambda: show(table(columns, rows), wide=context.wide))


@pool.command("show")
@pool_name
@with_context
@watchable
def show_pool(context: CommandContext, name: str | None) -> None:
    """Show a pool's document."""
    document = about_pool(context, name).get()
    emit(context.output, document, lambda: show_document(document, context.wide))


@pool.command()
@pool_name
@with_context
@watchable
def status(context: CommandContext, name: str | None) -> None:
    """Show how a pool and its instances do; exit 5 unless all is well."""
    context = about_pool(context, name)
    data = context.get("status")
    emit(context.output, data, lambda: show_status(data, context.wide))
    if data["health"] != "ok":
        say(f"error: pool {context.pool}: its health is {data['health']}")
        say(f"next: {next_step(data)}")
        raise click.exceptions.Exit(ExitCode.UNHEALTHY)


@pool.command()
@pool_name
@with_context
@watchable
def convergence(context: CommandContext, name: str | None) -> None:
    """Show which clients act on which version; exit 5 while a live one lags behind."""
    context = about_pool(context, name)
    data = context.get("convergence")
    emit(context.output, data, lambda: show_convergence(data, context.wide))
    if not data["converged"]:
        raise click.exceptions.Exit(ExitCode.UNHEALTHY)


@pool.command()
@click.argument("name")
@click.option(
    "--shard",
    "shards",
    multiple=True,
    required=True,
    metavar="NAME=HOST:PORT[,weight=N]",
    help="A shard and its master; once for each.",
)
@click.option(
    "--sentinel",
    "sentinels",
    multiple=True,
    required=True,
    metavar="HOST:PORT",
    help="A Sentinel that shall watch the shards; once for each.",
)
@click.option(
    "--quorum",
    type=click.IntRange(min=1),
    help="How many Sentinels must agree that a master is down [a majority].",
)
@click.option("--allow-nonempty", is_flag=True, help="Take masters that already hold keys.")
@placement_options("slots")
@change_options
@with_context
def create(
    context: CommandContext,
    name: str,
    shards: tuple[str, ...],
    sentinels: tuple[str, ...],
    quorum: int | None,
    allow_nonempty: bool,
    placement: GivenPlacement,
    dry_run: bool,
    yes: bool,
    wait: float,
) -> None:
    """Make a pool of masters that run already, and have Sentinels watch them."""
    body: dict[str, Any] = {
        "pool": check_new_pool_name(name),
        "sentinels": [str(parse_address(sentinel, 26_379)) for sentinel in sentinels],
        "shards": _labelled([parse_shard(text) for text in shards], placement.labels),
    }
    if placement.strategy is not None:
        body |= {"strategy": placement.strategy, **placement.fields}
    if quorum is not None:
        body["quorum"] = quorum
    if allow_nonempty:
        body["allow_nonempty"] = True
    change = PlannedChange(f"create pool {name}", "POST", "/v1/pools", body, versioned=False)
    carry_out(about_pool(context, name), change, ChangeFlags(dry_run, yes, wait))


@pool.command()
@click.argument("name", shell_complete=completing.pools)
@change_options
@with_context
def delete(context: CommandContext, name: str, dry_run: bool, yes: bool, wait: float) -> None:
    """Forget a pool. Its instances keep running; Sentinels no longer watch them."""
    context = about_pool(context, name)
    change = PlannedChange(f"delete pool {context.pool}", "DELETE", context.path())
    carry_out(context, change, ChangeFlags(dry_run, yes, wait))


def parse_shard(text: str) -> dict[str, Any]:
    """Parse ``NAME=HOST:PORT[,weight=N]`` into a shard of the metaserver's API.

    Raises:
        click.UsageError, InvalidDocumentError: the text is not of that form.
    """
    name, equals, rest = text.partition("=")
    address, comma, option = rest.partition(",")
    if not equals:
        raise click.UsageError(f"--shard {text!r:.100}: write NAME=HOST:PORT[,weight=N].")
    shard: dict[str, Any] = {
        "name": check_name("shard", name),
        "master": str(parse_address(address)),
    }
    if comma:
        key, _, weight = option.partition("=")
        if key != "weight" or not (weight.isascii() and weight.isdigit() and len(weight) < 10):
            raise click.UsageError(f"--shard {text!r:.100}: after the address comes weight=N.")
        shard["weight"] = int(weight)
    return shard


def _labelled(shards: list[dict[str, Any]], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the shards with their labels.

    Raises:
        click.UsageError: a label is that of no shard.
    """
    unknown = sorted(set(labels) - {shard["name"] for shard in shards})
    if unknown:
        raise click.UsageError(f"--label {unknown[0]}=...: no --shard has this name.")
    return [
        {**shard, "label": labels[shard["name"]]} if shard["name"] in labels else shard
        for shard in shards
    ]
