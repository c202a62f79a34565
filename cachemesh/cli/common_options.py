"""The options of every command that acts on a deployment, and the context made of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, cast

import click

from cachemesh.cli import completing
from cachemesh.cli.context import CommandContext, CommonOptions
from cachemesh.cli.output import OUTPUT_HELP, OUTPUTS

Command = TypeVar("Command", bound=Callable[..., Any])

_ONE_POOL = click.option(
    "--pool",
    metavar="NAME",
    shell_complete=completing.pools,
    help="The pool, instead of the URL's.",
)


def add_common_options(command: Command, pool_option: Callable[..., Any] = _ONE_POOL) -> Command:
    """Add the options of `CommonOptions` to a command or group.

    Args:
        pool_option: the decorator that adds --pool, for a command to which it means more.
    """
    for option in (
        click.option("-o", "--output", type=click.Choice(OUTPUTS), help=OUTPUT_HELP),
        pool_option,
        click.option(
            "--token-file",
            metavar="FILE",
            type=click.Path(dir_okay=False),
            help="File with the metaserver's token [CACHEMESH_TOKEN_FILE, or the token itself in "
            "CACHEMESH_TOKEN]. There is no option for the token itself: `ps` would show it.",
        ),
        click.option(
            "--context",
            metavar="NAME",
            shell_complete=completing.contexts,
            help="A context, instead of a URL [CACHEMESH_CONTEXT].",
        ),
        click.option(
            "--url", metavar="URL", help="cachemesh://HOST:PORT[,...]/POOL [CACHEMESH_URL]."
        ),
    ):
        command = option(command)
    return command


def with_context(
    command: Callable[..., Any], pool_option: Callable[..., Any] = _ONE_POOL
) -> Callable[..., Any]:
    """Add the common options to a command and call it with a `CommandContext` made of them.

    Args:
        pool_option: as for `add_common_options`.
    """

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        given = CommonOptions(**{f.name: kwargs.pop(f.name, None) for f in fields(CommonOptions)})
        outer = click.get_current_context().obj
        context = CommandContext(
            given.over(cast(CommonOptions, outer) if outer else CommonOptions())
        )
        return command(context, *args, **kwargs)

    return add_common_options(wrapper, pool_option)
