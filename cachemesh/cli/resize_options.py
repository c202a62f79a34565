"""The options of commands that resize a pool: what becomes of keys that change their shard."""

from __future__ import annotations

from typing import Any

import click

from cachemesh.cli.change import Command


def resize_options(command: Command) -> Command:
    """Add --strategy and --keys-per-second, taken as ``strategy`` and ``keys_per_second``."""
    strategy = click.option(
        "--strategy",
        type=click.Choice(["move", "drop"]),
        default="move",
        show_default=True,
        help="What becomes of keys that change their shard: they are moved, or go cold.",
    )
    pace = click.option(
        "--keys-per-second",
        type=click.IntRange(0, 1_000_000_000),
        default=0,
        help="How many keys are moved at most; 0 = no bound.",
    )
    return strategy(pace(command))


def how(strategy: str, keys_per_second: int) -> dict[str, Any]:
    """Return the fields of a request for what becomes of keys.

    Raises:
        click.UsageError: a bound for keys that are not moved.
    """
    if strategy == "drop":
        if keys_per_second:
            raise click.UsageError("--keys-per-second is for --strategy move.")
        return {"strategy": strategy}
    return {"strategy": strategy, "keys_per_second": keys_per_second}
