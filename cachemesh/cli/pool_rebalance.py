"""`cachemesh pool rebalance`: deal a pool's keys to its shards anew."""

from __future__ import annotations

from typing import Any

import click

from cachemesh.cli.change import ChangeFlags, PlannedChange, carry_out, change_options
from cachemesh.cli.context import CommandContext, about_pool, with_context
from cachemesh.cli.resize_options import resize_options
from cachemesh.core.names import check_name
from cachemesh.core.placement import Placement


@click.command("rebalance")
@click.argument("name", required=False)
@click.option(
    "--placement",
    type=click.Choice(sorted(Placement.strategies)),
    help="The strategy to change to [deal the slots evenly by weight again].",
)
@click.option("--hash", "hash_name", metavar="NAME", help="The strategy's hash function.")
@click.option("--hash-tag", metavar="CHARACTERS", help="The two around what is hashed of a key.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="SHARD=LABEL",
    help="What is hashed in place of a shard's name; once for each.",
)
@click.option("--unnamed", is_flag=True, help="Strategy jedis: its shards have no names.")
@resize_options
@change_options
@with_context
def rebalance(
    context: CommandContext,
    name: str | None,
    placement: str | None,
    hash_name: str | None,
    hash_tag: str | None,
    labels: tuple[str, ...],
    unnamed: bool,
    how: dict[str, Any],
    dry_run: bool,
    yes: bool,
    wait: float,
) -> None:
    """Deal a pool's keys to its shards anew: evenly by weight, or by another strategy."""
    context = about_pool(context, name)
    fields: dict[str, Any] = {
        "hash": hash_name,
        "hash_tag": hash_tag,
        "named": False if unnamed else None,
        "labels": dict(map(_parse_label, labels)) or None,
    }
    given = {field: value for field, value in fields.items() if value is not None}
    if given and placement is None:
        raise click.UsageError("Give --placement with the options of a strategy.")
    asked = {} if placement is None else {"placement": {"strategy": placement, **given}}
    change = PlannedChange(
        f"rebalance pool {context.pool}",
        "PATCH",
        context.path("placement"),
        {**asked, **how},
    )
    carry_out(context, change, ChangeFlags(dry_run, yes, wait))


def _parse_label(text: str) -> tuple[str, str]:
    """Parse ``SHARD=LABEL``.

    Raises:
        click.UsageError, InvalidDocumentError: the text is not of that form.
    """
    shard, equals, label = text.partition("=")
    if not equals or not label:
        raise click.UsageError(f"--label {text!r:.100}: write SHARD=LABEL.")
    return check_name("shard", shard), label
