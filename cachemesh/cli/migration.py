"""`cachemesh migration`: keys that move between shards while a pool is resized."""

from __future__ import annotations

from typing import Any

import click

from cachemesh.cli.change import (
    confirm,
    dry_run_option,
    end_dry_run,
    report,
    show_steps,
    yes_option,
)
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.migration_list import list_migrations
from cachemesh.cli.migration_lost import mark_lost
from cachemesh.cli.migration_tables import show_resize
from cachemesh.cli.migration_watch import under_way, watch
from cachemesh.cli.output import emit
from cachemesh.cli.resize_options import KEYS_PER_SECOND, MAX_LATENCY
from cachemesh.cli.watchable import watchable


@click.group(no_args_is_help=False)
def migration() -> None:
    """Migrations: keys that move between shards while a pool is resized."""


migration.add_command(list_migrations)
migration.add_command(watch)
migration.add_command(mark_lost)


@migration.command()
@with_context
@watchable
def status(context: CommandContext) -> None:
    """Show the resize under way; exits 4 if there is none."""
    resize = under_way(context)
    emit(context.output, resize, lambda: show_resize(resize, context.wide))


@migration.command()
@with_context
def pause(context: CommandContext) -> None:
    """Move no more keys until `resume`; those that apps ask for still move."""
    _set(context, {"paused": True})


@migration.command()
@with_context
def resume(context: CommandContext) -> None:
    """Go on with a move that was paused."""
    _set(context, {"paused": False})


# Else "-1" would be refused as an unknown option, not as a number.
@migration.command(context_settings={"ignore_unknown_options": True})
@click.argument("keys_per_second", type=KEYS_PER_SECOND, required=False)
@click.option(
    "--max-latency",
    type=MAX_LATENCY,
    metavar="MS",
    help="Move more slowly while a shard takes longer to answer, in milliseconds; 0: no bound.",
)
@with_context
def throttle(context: CommandContext, keys_per_second: int | None, max_latency: int | None) -> None:
    """Bound how fast keys move, by their number or by how shards answer; 0 for no bound."""
    given = {"keys_per_second": keys_per_second, "max_latency": max_latency}
    pace = {name: value for name, value in given.items() if value is not None}
    if not pace:
        raise click.UsageError("Give KEYS_PER_SECOND, --max-latency or both.")
    _set(context, pace)


def _set(context: CommandContext, pace: dict[str, Any]) -> None:
    report(context, context.metaserver.request("PATCH", context.path("resize"), pace))


@migration.command()
@yes_option
@dry_run_option
@with_context
def abort(context: CommandContext, yes: bool, dry_run: bool) -> None:
    """Give the resize up: the placement stays as it was, keys that have moved are moved back."""
    path = context.path("resize")
    plan = context.metaserver.request("DELETE", path, query={"dry_run": True})
    if dry_run:
        emit(context.output, plan, lambda: show_steps(plan))
        end_dry_run(True)
    confirm(f"give up the resize of pool {context.pool}", plan["warnings"], yes)
    report(context, context.metaserver.request("DELETE", path))
