"""`cachemesh pool rebalance`: deal a pool's keys to its shards anew."""

from __future__ import annotations

from typing import Any

import click

from cachemesh.cli import completing
from cachemesh.cli.change import ChangeFlags, PlannedChange, carry_out, change_options
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext, about_pool
from cachemesh.cli.placement_options import GivenPlacement, placement_options
from cachemesh.cli.resize_options import resize_options


@click.command("rebalance")
@click.argument("name", required=False, shell_complete=completing.pools)
@placement_options("deal the slots evenly by weight again")
@resize_options
@change_options
@with_context
def rebalance(
    context: CommandContext,
    name: str | None,
    placement: GivenPlacement,
    how: dict[str, Any],
    dry_run: bool,
    yes: bool,
    wait: float,
) -> None:
    """Deal a pool's keys to its shards anew: evenly by weight, or by another strategy."""
    context = about_pool(context, name)
    asked: dict[str, Any] = {}
    if placement.strategy is not None:
        labels = {"labels": placement.labels} if placement.labels else {}
        asked = {"placement": {"strategy": placement.strategy, **placement.fields, **labels}}
    change = PlannedChange(
        f"rebalance pool {context.pool}",
        "PATCH",
        context.path("placement"),
        {**asked, **how},
    )
    carry_out(context, change, ChangeFlags(dry_run, yes, wait))
