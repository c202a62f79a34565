"""The options that `cachemesh up`, `down`, `status` and `doctor` share, and their errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from cachemesh.cli.context import CommonOptions
from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.cli.output import OUTPUT_HELP, OUTPUTS, Output, say
from cachemesh.core.errors import InvalidDocumentError, LocalStackError
from cachemesh.core.names import check_name
from cachemesh.local.options import LIMITS
from cachemesh.local.state import NoStackError

_DIR_HELP = "Where its state and logs live [XDG_STATE_HOME/cachemesh/POOL]."


def _pool_name(context: click.Context, parameter: click.Parameter, name: str | None) -> str:
    try:
        return check_name("pool", name or outer_options().pool or "cache")
    except InvalidDocumentError as error:
        raise click.BadParameter(str(error)) from error


def outer_options() -> CommonOptions:
    """Return the common options that stand before the command's name."""
    given = click.get_current_context().find_object(CommonOptions)
    return given or CommonOptions()


def chosen_output(given: Output | None) -> Output:
    """Return the output format ``given``, or the one before the command's name, or "table"."""
    return given or outer_options().output or "table"


def count_option(name: str, flag: str, default: int, text: str) -> Callable[..., Any]:
    """Return an option for a number of processes, or another whole number with `LIMITS`."""
    low, high = LIMITS[name]
    return click.option(
        flag, name, type=click.IntRange(low, high), default=default, show_default=True, help=text
    )


def port_option(flag: str, text: str) -> Callable[..., Any]:
    """Return an option for a TCP port."""
    return click.option(flag, type=click.IntRange(1, 65_535), metavar="N", help=text)


pool_option = click.option(
    "--pool", metavar="NAME", callback=_pool_name, help="The pool's name [cache]."
)
directory_option = click.option(
    "--dir", "directory", metavar="DIR", type=click.Path(path_type=Path), help=_DIR_HELP
)
output_option = click.option("-o", "--output", type=click.Choice(OUTPUTS), help=OUTPUT_HELP)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn a LocalStackError into a CommandError about ``what``; print its log lines on stderr.

    Raises:
        CommandError: the block raised a LocalStackError.
    """
    try:
        yield
    except NoStackError as error:
        raise _command_error(what, str(error), ExitCode.NOT_FOUND_OR_CONFLICT) from error
    except LocalStackError as error:
        head, _, log = str(error).partition("\n")
        for line in log.splitlines():
            say(line)
        raise _command_error(what, head, ExitCode.FAILED) from error


def _command_error(what: str, message: str, code: ExitCode) -> CommandError:
    why, separator, next_step = message.rstrip(":").partition("; ")
    return CommandError(what, why, next_step if separator else "see: cachemesh doctor", code)
