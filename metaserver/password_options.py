"""Options for passwords, which take where a password is, never the password: `ps` shows options."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from metaserver.process.config import RedisAuth

FORM = "env:NAME|file:PATH"


def auth_options(name: str, whose: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds the options for a user name and a password to a command.

    Args:
        name: what the options begin with.
        whose: what one logs in to, in words.
    """
    options = (
        click.option(f"--{name}-username", help=f"User name for {whose}."),
        click.option(
            f"--{name}-password", metavar=FORM, help=f"Where the password for {whose} is."
        ),
        click.option(
            f"--{name}-password-file",
            type=click.Path(dir_okay=False),
            help=f"File with the password for {whose}, the same as file:PATH.",
        ),
    )

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def auth_of(name: str, given: Mapping[str, str | None]) -> RedisAuth:
    """Return the user name and the password that the options of `auth_options` lead to.

    Raises:
        click.UsageError: both options for the password are given, or it cannot be read. The
            message never has what was given in place of a reference.
    """
    reference, file = given[f"{name}_password"], given[f"{name}_password_file"]
    if reference is not None and file is not None:
        raise click.UsageError(f"Give --{name}-password or --{name}-password-file, not both.")
    if file is not None:
        reference = f"file:{file}"
    password = None if reference is None else referenced(f"--{name}-password", reference)
    return RedisAuth(given[f"{name}_username"], password)


def referenced(option: str, reference: str) -> str:
    """Return the password, or another secret, that `env:NAME` or `file:PATH` leads to.

    Raises:
        click.UsageError: as `auth_of`.
    """
    kind, separator, where = reference.partition(":")
    if not separator or kind not in ("env", "file") or not where:
        raise click.UsageError(f"{option} takes {FORM}, never the password itself.")
    if kind == "env":
        found = os.environ.get(where)
        if not found:
            raise click.UsageError(f"{option}: the environment variable {where} is not set.")
        return found
    try:
        return Path(where).read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise click.UsageError(f"{option}: file {where}: {reason}") from error
