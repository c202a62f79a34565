"""The options of commands that resize a pool: what becomes of keys that change their shard."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from cachemesh.cli.param_types import byte_count

KEYS_PER_SECOND = click.IntRange(0, 1_000_000_000)
MAX_LATENCY = click.IntRange(0, 60_000)  # milliseconds
_OF_MOVES = ("keys_per_second", "max_latency", "sample", "big_key")


def resize_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --strategy, --keys-per-second, --max-latency, --sample and --big-key.

    The command takes them as ``how``, the fields of its request. They are refused as a wrong use if
    there is one of the others for keys that are not moved.
    """

    @wraps(command)
    def with_how(*args: Any, strategy: str, **given: Any) -> Any:
        of_moves = {name: given.pop(name) for name in _OF_MOVES}
        return command(*args, how=_how(strategy, of_moves), **given)

    for option in reversed(_OPTIONS):
        with_how = option(with_how)
    return with_how


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--strategy",
        type=click.Choice(["move", "drop"]),
        default="move",
        show_default=True,
        help="What becomes of keys that change their shard: they are moved, or go cold.",
    ),
    click.option(
        "--keys-per-second",
        type=KEYS_PER_SECOND,
        default=0,
        help="How many keys are moved at most; 0 = no bound.",
    ),
    click.option(
        "--max-latency",
        type=MAX_LATENCY,
        default=0,
        metavar="MS",
        help="Move keys more slowly while a shard takes longer to answer; 0 = no bound.",
    ),
    click.option(
        "--sample",
        type=click.IntRange(0, 1_000_000_000),
        help="How many keys of each shard a plan looks at; 0 = all [10000].",
    ),
    click.option(
        "--big-key",
        callback=byte_count,
        metavar="SIZE",
        help="From which size on a plan names a key, such as 64K or 10M [1M].",
    ),
)


def _how(strategy: str, of_moves: dict[str, int | None]) -> dict[str, Any]:
    """Return the fields of a request for what becomes of keys.

    Args:
        of_moves: the options for keys that are moved; None where the metaserver's value is taken.

    Raises:
        click.UsageError: one of these, for keys that are not moved.
    """
    if strategy == "drop":
        for name, value in of_moves.items():
            if value:
                raise click.UsageError(f"--{name.replace('_', '-')} is for --strategy move.")
        return {"strategy": strategy}
    given = {name: value for name, value in of_moves.items() if value is not None}
    return {"strategy": strategy, **given}
