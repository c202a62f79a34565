"""The options of commands that resize a pool: what becomes of keys that change their shard."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

_BOUNDS = ("keys_per_second", "max_latency")


def resize_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --strategy, --keys-per-second and --max-latency.

    The command takes them as ``how``, the fields of its request. They are refused as a wrong use if
    there is a bound for keys that are not moved.
    """

    @wraps(command)
    def with_how(*args: Any, strategy: str, **given: Any) -> Any:
        bounds = {name: given.pop(name) for name in _BOUNDS}
        return command(*args, how=_how(strategy, bounds), **given)

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
        type=click.IntRange(0, 1_000_000_000),
        default=0,
        help="How many keys are moved at most; 0 = no bound.",
    ),
    click.option(
        "--max-latency",
        type=click.IntRange(0, 60_000),
        default=0,
        metavar="MS",
        help="Move keys more slowly while a shard takes longer to answer; 0 = no bound.",
    ),
)


def _how(strategy: str, bounds: dict[str, int]) -> dict[str, Any]:
    """Return the fields of a request for what becomes of keys.

    Raises:
        click.UsageError: a bound for keys that are not moved.
    """
    if strategy == "drop":
        for name, bound in bounds.items():
            if bound:
                raise click.UsageError(f"--{name.replace('_', '-')} is for --strategy move.")
        return {"strategy": strategy}
    return {"strategy": strategy, **bounds}
