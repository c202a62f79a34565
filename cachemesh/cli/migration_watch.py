"""`cachemesh migration watch`: a resize under way, until it is over."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import click
import yaml
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.cli.migration_ends import ResizeEnd, ends
from cachemesh.cli.migration_tables import Resize, bars, progress_line
from cachemesh.cli.output import Output, console, printable, say
from cachemesh.core.errors import MetaserverUnavailableError
from cachemesh.core.plurals import counted
from cachemesh.discovery.metaserver_request import Query

_EVERY = 1.0  # seconds between two looks
_ANSWERED_WITHIN = 5.0  # seconds for a metaserver
_LATER = 10  # looks at the audit log of a resize that is over
_EVENTS = 1000


@click.command()
@with_context
def watch(context: CommandContext) -> None:
    """Show the resize under way until it is over.

    Exits 0 once it is done, 1 if it was given up, 4 if there is none.
    """
    resize = under_way(context)
    with _view(context.output) as view:
        view.show(resize)
        for now in _following(context, resize["id"], view):
            view.show(now)
        end = _end_of(context, resize, view)
    if context.output in ("json", "yaml"):
        _print_one(context.output, {"ended": asdict(end)})
    if end.how != "done":
        raise CommandError(
            f"pool {context.pool}",
            f"{end.given_up_by or 'somebody'} gave up: {end.summary}{_back(end)}",
            "see what happened: cachemesh event list",
        )
    say(f"done: {end.summary}{_moved(end)}")


def under_way(context: CommandContext) -> Resize:
    """Return the resize under way.

    Raises:
        CommandError: there is none.
    """
    resize: Resize | None = context.get("status")["resize"]
    if resize is None:
        raise CommandError(
            f"pool {context.pool}",
            "no resize is under way",
            "see what was done: cachemesh migration list",
            ExitCode.NOT_FOUND_OR_CONFLICT,
        )
    return resize


def _back(end: ResizeEnd) -> str:
    return "; its keys are where they were" if end.how == "turned back" else ""


def _moved(end: ResizeEnd) -> str:
    return f", {counted(end.moved, 'key')} moved" if end.strategy == "move" and end.moved else ""


@dataclass
class _View:
    """Where a resize is shown.

    Attributes:
        draw: shows how it is, and what is wrong with the metaservers, if anything.
    """

    draw: Callable[[Resize, str], None]
    _last: Resize = field(default_factory=dict)
    _trouble: str = ""

    def show(self, resize: Resize) -> None:
        """Show how the resize is."""
        self._last = resize
        self.draw(resize, self._trouble)

    def trouble(self, why: str) -> None:
        """Show why nothing new is known; "" once something is."""
        if why != self._trouble:
            self._trouble = why
            self.draw(self._last, why)


@contextmanager
def _view(output: Output) -> Iterator[_View]:
    screen = console()
    if output in ("json", "yaml") or not screen.is_terminal:
        yield _View(_lines(output))
        return
    with Live(console=screen, auto_refresh=False) as live:
        yield _View(lambda resize, why: live.update(_drawn(resize, why, screen), refresh=True))


def _drawn(resize: Resize, trouble: str, screen: Console) -> Group:
    shown = bars(resize, screen.width)
    return Group(shown, Text(printable(trouble), "red")) if trouble else Group(shown)


def _lines(output: Output) -> Callable[[Resize, str], None]:
    """Return what prints a line on each change."""
    before: list[object] = [None, ""]

    def draw(resize: Resize, trouble: str) -> None:
        shown: object = resize if output in ("json", "yaml") else progress_line(resize)
        if trouble and trouble != before[1]:
            say(trouble)
        if not trouble and shown != before[0]:
            _print_one(output, shown)
            before[0] = shown
        before[1] = trouble

    return draw


def _print_one(output: Output, shown: object) -> None:
    if output == "json":
        click.echo(json.dumps(shown))
    elif output == "yaml":
        click.echo(yaml.safe_dump([shown], sort_keys=False), nl=False)
    else:
        click.echo(shown)


def _following(context: CommandContext, resize_id: int, view: _View) -> Iterator[Resize]:
    """Yield the resize once a second, until it is over."""
    while True:
        time.sleep(_EVERY)
        resize = _ask(context, context.path("status"), view)["resize"]
        if resize is None or resize["id"] != resize_id:
            return
        yield resize


def _end_of(context: CommandContext, resize: Resize, view: _View) -> ResizeEnd:
    """Return how a resize ended.

    Raises:
        CommandError: the audit log does not tell.
    """
    for _ in range(_LATER):
        last: Query = {"pool": context.pool, "limit": _EVENTS}
        events = _ask(context, "/v1/events", view, last)["events"]
        for end in ends(events):
            if end.resize == resize["id"]:
                return end
        time.sleep(_EVERY)
    raise CommandError(
        f"pool {context.pool}",
        f"it is over, but the events do not tell how: {resize['summary']}",
        "see how the pool is: cachemesh pool status",
    )


def _ask(
    context: CommandContext,
    path: str,
    view: _View,
    query: Query | None = None,
) -> Any:
    """Ask the metaservers, again and again until one answers."""
    while True:
        try:
            found = context.metaserver.request("GET", path, query=query, timeout=_ANSWERED_WITHIN)
        except MetaserverUnavailableError as error:
            view.trouble(f"{error}; trying again")
            time.sleep(_EVERY)
            continue
        view.trouble("")
        return found
