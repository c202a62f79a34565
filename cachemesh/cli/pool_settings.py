"""`cachemesh pool set`: change a pool's settings."""

from __future__ import annotations

import json
import math
from difflib import get_close_matches
from typing import Any

import click

from cachemesh.cli import completing
from cachemesh.cli.change import ChangeFlags, PlannedChange, carry_out, change_options
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.core.errors import MetaserverError
from cachemesh.core.pool.settings import SETTINGS


@click.command("set")
@click.argument(
    "settings", nargs=-1, required=True, metavar="KEY=VALUE...", shell_complete=completing.settings
)
@change_options
@with_context
def set_settings(
    context: CommandContext, settings: tuple[str, ...], dry_run: bool, yes: bool, wait: float
) -> None:
    """Change settings; every running client applies them. KEY= resets to the default."""
    values = dict(parse_setting(text) for text in settings)
    unknown = [name for name in values if name not in SETTINGS]
    # A newer metaserver may know further settings, and may have set them in this pool.
    if unknown and not any(values[name] is not None for name in unknown):
        held = context.get()["settings"]
        if strange := [name for name in unknown if name not in held]:
            raise _no_such_setting(strange[0])
    change = PlannedChange(
        f"set pool {context.pool}", "PATCH", context.path("settings"), {"settings": values}
    )
    try:
        carry_out(context, change, ChangeFlags(dry_run, yes, wait))
    except MetaserverError as error:
        if error.status == 400 and unknown:
            raise _no_such_setting(unknown[0]) from error
        raise


def _no_such_setting(name: str) -> CommandError:
    likely = get_close_matches(name, SETTINGS, 1)
    hint = f"did you mean {likely[0]}? " if likely else ""
    return CommandError(
        f"setting {name!r:.80}",
        "there is no such setting",
        f"{hint}known are: {', '.join(SETTINGS)}",
        ExitCode.USAGE,
    )


def parse_setting(text: str) -> tuple[str, Any]:
    """Parse ``KEY=VALUE``.

    Returns:
        The key, and the value as JSON; as text if it is not JSON; None (the default) if empty.

    Raises:
        click.UsageError: the text is not of that form.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"setting {text!r:.100}: write KEY=VALUE, or KEY= for the default.")
    if not value:
        return key, None
    try:
        return key, json.loads(value, parse_constant=str, parse_float=_number)
    except (ValueError, RecursionError):
        return key, value


def _number(text: str) -> float | str:
    """Parse a number; return infinity as text, so that the error is about the setting, not JSON."""
    number = float(text)
    return number if math.isfinite(number) else text
