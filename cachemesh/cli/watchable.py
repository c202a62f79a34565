"""The option --watch of lists and states: the command is run again and again, as `watch` does."""

from __future__ import annotations

import functools
import io
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime
from typing import Any, TypeVar, cast

import click
import redis
from rich.console import Console, Group
from rich.text import Text

from cachemesh.cli.errors import ExitCode, explain
from cachemesh.cli.output import console, say
from cachemesh.cli.param_types import Number
from cachemesh.core.errors import CacheMeshError

Command = TypeVar("Command", bound=Callable[..., Any])

_PASSING = (ExitCode.FAILED, ExitCode.UNREACHABLE)
"""What may be over at the next look, such as a metaserver that does not answer."""


def watchable(command: Command) -> Command:
    """Add --watch and --interval to a command that prints a state and changes nothing."""

    @functools.wraps(command)
    def called(*args: Any, watch: bool, interval: float | None, **options: Any) -> Any:
        if not watch:
            if interval is not None:
                raise click.UsageError("--interval is for --watch.")
            return command(*args, **options)
        look = functools.partial(command, *args, **options)
        return _repeat(look, 2.0 if interval is None else interval)

    for option in (
        click.option(
            "--interval",
            type=Number(0.1, 86_400),
            metavar="SECONDS",
            help="How long --watch waits between two looks [2].",
        ),
        click.option("-w", "--watch", is_flag=True, help="Look again and again, until Ctrl-C."),
    ):
        called = option(called)
    return cast("Command", called)


def _repeat(look: Callable[[], object], interval: float) -> None:
    """Show what a command prints, again and again: on a terminal in place, else one by one.

    An error ends it at the first look.
    """
    screen = console()
    if not screen.is_terminal:
        _look(look)
        while True:
            time.sleep(interval)
            _look_once_more(look)
    shown = _printed(lambda: _look(look))
    with screen.screen() as alternate:
        while True:
            alternate.update(Group(_head(screen, interval), Text(), shown))
            time.sleep(interval)
            shown = _printed(lambda: _look_once_more(look))


def _head(screen: Console, interval: float) -> Text:
    every = f"every {interval:g} s, until Ctrl-C"
    now = f"{datetime.now():%H:%M:%S}"
    return Text(f"{every}{now:>{max(screen.width - len(every), len(now) + 1)}}", "dim")


def _look(look: Callable[[], object]) -> None:
    """Run a command whose exit code does not count, such as that of a pool that is unwell."""
    try:
        look()
    except click.exceptions.Exit as end:
        if end.exit_code != ExitCode.UNHEALTHY:
            raise


def _look_once_more(look: Callable[[], object]) -> None:
    """Run a command; what may pass is said, and no error."""
    try:
        _look(look)
    except (CacheMeshError, redis.RedisError) as error:
        explanation = explain(error)
        if explanation.code not in _PASSING:
            raise
        say(f"error: {explanation.message}; looking again")


class _Terminal(io.StringIO):
    """Keeps what is printed; who prints takes it for the terminal, for colours and width."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def _printed(show: Callable[[], None]) -> Text:
    """Return what is printed meanwhile, on stdout and stderr."""
    kept = _Terminal()
    with redirect_stdout(kept), redirect_stderr(kept):
        show()
    text = Text.from_ansi(kept.getvalue())
    text.no_wrap, text.overflow = True, "crop"
    return text
