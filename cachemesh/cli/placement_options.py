"""Options of commands that say by which strategy a pool's keys are placed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import click

from cachemesh.core.names import check_name
from cachemesh.core.placement import Placement

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class GivenPlacement:
    """The strategy that was asked for.

    Attributes:
        strategy: None: none was given.
        fields: its options, as the metaserver's API names them; only those that were given.
        labels: what is hashed in place of shards' names, by shard.
    """

    strategy: str | None
    fields: dict[str, Any]
    labels: dict[str, str]


def placement_options(default: str) -> Callable[[Command], Command]:
    """Return a decorator that adds --placement and its companions to a command.

    The command takes them together as ``placement``.

    Args:
        default: what becomes of the keys without --placement, in words.
    """

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def called(
            *args: Any,
            placement: str | None,
            hash_name: str | None,
            hash_tag: str | None,
            labels: tuple[str, ...],
            unnamed: bool,
            **others: Any,
        ) -> Any:
            fields = {"hash": hash_name, "hash_tag": hash_tag, "named": False if unnamed else None}
            given = GivenPlacement(
                placement,
                {field: value for field, value in fields.items() if value is not None},
                dict(map(_parse_label, labels)),
            )
            if placement is None and (given.fields or labels):
                raise click.UsageError("Give --placement with the options of a strategy.")
            return command(*args, placement=given, **others)

        for option in _options(default):
            called = option(called)
        return cast("Command", called)

    return add


def _options(default: str) -> tuple[Callable[..., Any], ...]:
    # Click shows them in the reverse of this order.
    return (
        click.option("--unnamed", is_flag=True, help="Strategy jedis: its shards have no names."),
        click.option(
            "--label",
            "labels",
            multiple=True,
            metavar="SHARD=LABEL",
            help="What is hashed in place of a shard's name; once for each.",
        ),
        click.option(
            "--hash-tag", metavar="CHARACTERS", help="The two around what is hashed of a key."
        ),
        click.option("--hash", "hash_name", metavar="NAME", help="The strategy's hash function."),
        click.option(
            "--placement",
            type=click.Choice(sorted(Placement.strategies)),
            help=f"The strategy by which keys are placed [{default}].",
        ),
    )


def _parse_label(text: str) -> tuple[str, str]:
    """Parse ``SHARD=LABEL``.

    Raises:
        click.UsageError, InvalidDocumentError: the text is not of that form.
    """
    shard, equals, label = text.partition("=")
    if not equals or not label:
        raise click.UsageError(f"--label {text!r:.100}: write SHARD=LABEL.")
    return check_name("shard", shard), label
