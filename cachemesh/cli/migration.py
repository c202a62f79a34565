"""`cachemesh migration`: keys that move between shards while a pool is resized."""

from __future__ import annotations

from collections.abc import Mapping
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
from cachemesh.cli.context import CommandContext, with_context
from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.cli.output import emit, show_fields


@click.group(no_args_is_help=False)
def migration() -> None:
    """Migrations: keys that move between shards while a pool is resized."""


@migration.command()
@with_context
def status(context: CommandContext) -> None:
    """Show the resize under way; exits 4 if there is none."""
    resize = context.get("status")["resize"]
    if resize is None:
        raise CommandError(
            f"pool {context.pool}",
            "no resize is under way",
            "see what was done: cachemesh event list",
            ExitCode.NOT_FOUND_OR_CONFLICT,
        )
    emit(context.output, resize, lambda: show_fields(_fields(resize)))


def _fields(resize: Mapping[str, Any]) -> list[tuple[str, object]]:
    bound = resize["keys_per_second"]
    return [
        ("resize", resize["summary"]),
        ("state", resize["state"] + (", back" if resize["back"] else "")),
        ("attempt", resize["attempt"]),
        ("strategy", resize["strategy"]),
        ("stage", f"{resize['stage'] + 1} of {resize['stages']}"),
        ("moved", f"{resize['moved']:,} keys, from shards that are done"),
        ("done", ", ".join(resize["done"]) or "-"),
        ("at most", f"{bound:,} keys a second" if bound else "-"),
        ("detail", resize["detail"] or "-"),
    ]


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
@click.argument("keys_per_second", type=click.IntRange(0, 1_000_000_000))
@with_context
def throttle(context: CommandContext, keys_per_second: int) -> None:
    """Move at most so many keys a second; 0 for no bound."""
    _set(context, {"keys_per_second": keys_per_second})


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
