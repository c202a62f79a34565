"""Makes a change: plans it, shows the plan, asks before anything is destroyed, carries it out."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import click

from cachemesh.cli.context import CommandContext
from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.cli.migration_plan import moved_in_words, moves_table, show_migration
from cachemesh.cli.output import emit, printable, say
from cachemesh.cli.param_types import Number
from cachemesh.cli.tables import show
from cachemesh.core.errors import MetaserverError
from cachemesh.core.plurals import counted

_RETRY_S = 0.5
_LOOK_S = 0.2

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class ChangeFlags:
    """The options of a command that changes something.

    Attributes:
        dry_run: only show the plan.
        yes: do not ask for confirmation.
        wait_s: seconds to wait for an earlier resize to end; 0: do not wait.
    """

    dry_run: bool
    yes: bool
    wait_s: float


@dataclass(frozen=True)
class PlannedChange:
    """A request to the metaserver that is sent twice: as a dry run for the plan, then to be made.

    A dry run that prints JSON tells these attributes as ``change``, for `cachemesh apply`.

    Attributes:
        what: the change in words, for messages.
        method, path: of the request.
        body: its JSON object; None if the request takes its parameters in the query.
        versioned: whether the change is only made if the pool still has the plan's version.
        query: its parameters, where it has no body.
    """

    what: str
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    versioned: bool = True
    query: Mapping[str, Any] = field(default_factory=dict)


def dry_run_option(command: Command) -> Command:
    """Add --dry-run; the command takes it as ``dry_run``."""
    return click.option(
        "--dry-run", is_flag=True, help="Say what would happen; exit 6 if anything would."
    )(command)


def yes_option(command: Command) -> Command:
    """Add --yes; the command takes it as ``yes``."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask before destroying.")(command)


def change_options(command: Command) -> Command:
    """Add --dry-run, --yes and --wait, taken as ``dry_run``, ``yes`` and ``wait``."""
    wait = click.option(
        "--wait",
        type=Number(min=0),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for an earlier resize of the pool to end; 0 = do not wait.",
    )
    return dry_run_option(yes_option(wait(command)))


def carry_out(
    context: CommandContext, change: PlannedChange, flags: ChangeFlags, version: int | None = None
) -> None:
    """Plan a change, and make it unless this is a dry run or nothing would change.

    Args:
        context: names the metaserver and the output format.
        change: the change.
        flags: the command's options.
        version: of the pool, that the change was planned for before; None: for that of now.

    Raises:
        click.exceptions.Exit: this was a dry run.
        CommandError: the change destroys something and the user did not confirm it.
        MetaserverError: the metaserver refused the change.
    """
    asked: dict[str, int | bool] = {"dry_run": True}
    if version is not None and change.versioned:
        asked["version"] = version
    if flags.dry_run:
        plan = _send(context, change, asked, wait_s=0)
        emit(context.output, {**plan, "change": asdict(change)}, lambda: show_plan(plan))
        end_dry_run(_has_changes(plan))
    plan = _send(context, change, asked, flags.wait_s)
    if not _has_changes(plan):
        emit(context.output, plan, lambda: click.echo("Nothing to change."))
        return
    if flags.yes or not plan["destroys"]:
        show_warnings(plan, err=True)
    confirm(change.what, plan["destroys"], flags.yes, lambda: show_plan(plan, err=True))
    guard = {"version": plan["version_before"]} if change.versioned else {}
    done = _send(context, change, guard, flags.wait_s)
    if done.get("resize"):
        _report_under_way(context, done, plan["warnings"])
        return
    report(context, done, lambda: _show_outcome(done), plan["warnings"])
    if done["moves"] and done["document"] is not None:
        say("keys left on their former shards are removed now; watch: cachemesh pool status")


def end_dry_run(has_changes: bool) -> None:
    """End a dry run with the exit code for its plan. Raises click.exceptions.Exit."""
    raise click.exceptions.Exit(ExitCode.PLAN_HAS_CHANGES if has_changes else ExitCode.OK)


def confirm(
    what: str, destroys: Sequence[str], yes: bool, show_it: Callable[[], None] | None = None
) -> None:
    """Ask the user before something is destroyed.

    Args:
        what: the change, for messages.
        destroys: what would be lost; if empty, the user is not asked.
        yes: whether the user has confirmed already, by --yes.
        show_it: prints on stderr what to decide upon; None: print ``destroys``.

    Raises:
        CommandError: there is no terminal to ask on, or the answer was not yes.
    """
    if not destroys or yes:
        return
    if show_it is not None:
        show_it()
    else:
        for item in destroys:
            say(f"destroys: {item}")
    if not sys.stdin.isatty():
        raise CommandError(
            what,
            "it destroys something, and there is no terminal to ask on",
            "look at what it destroys (--dry-run shows it), then pass --yes",
            ExitCode.USAGE,
        )
    click.echo("Go on? [y/N] ", err=True, nl=False)
    while not select.select([sys.stdin], [], [], _LOOK_S)[0]:
        pass  # a Ctrl-C in the moment before a read would be seen only after the read
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError(what, "not confirmed, nothing was changed", "answer y to go on")


def show_plan(plan: Mapping[str, Any], *, err: bool = False) -> None:
    """Print the metaserver's plan of a new version.

    Args:
        plan: the reply to a dry run.
        err: print on stderr.
    """

    def line(text: str) -> None:
        click.echo(printable(text), err=err)

    after = "-" if plan["version_after"] is None else plan["version_after"]
    show_steps(plan, f" (version {plan['version_before']} -> {after})", err=err)
    if plan.get("migration"):
        show_migration(plan, err=err)
    elif plan["moves"]:
        show(moves_table(plan), err=err)
        moved = plan["keys_moved"]
        keys = "an unknown number of keys" if moved is None else counted(moved, "key")
        line(f"moves: {moved_in_words(plan)}, {keys}")
    for item in plan["destroys"]:
        line(f"destroys: {item}")
    show_warnings(plan, err=err)
    if not _has_changes(plan):
        line("Nothing to change.")


def show_steps(plan: Mapping[str, Any], note: str = "", *, err: bool = False) -> None:
    """Print a plan's summary followed by ``note``, and its steps."""
    click.echo(printable(f"plan: {plan['summary']}{note}"), err=err)
    for number, step in enumerate(plan["steps"], 1):
        click.echo(printable(f"  {number}. {step}"), err=err)


def show_warnings(told: Mapping[str, Any], shown: Sequence[str] = (), *, err: bool = False) -> None:
    """Print the warnings of a plan or of a change that was made, but for those shown before."""
    for item in told["warnings"]:
        if item not in shown:
            click.echo(printable(f"warning: {item}"), err=err)


def report(
    context: CommandContext,
    done: Mapping[str, Any],
    show_outcome: Callable[[], None] | None = None,
    shown: Sequence[str] = (),
) -> None:
    """Print a change that was made.

    Args:
        context: has the output format.
        done: the metaserver's reply.
        show_outcome: prints further lines in the table format.
        shown: the warnings that were printed before.
    """

    def show_done() -> None:
        click.echo(printable(f"done: {done['summary']}"))
        if show_outcome is not None:
            show_outcome()

    emit(context.output, done, show_done)
    show_warnings(done, shown, err=True)


def _report_under_way(
    context: CommandContext, begun: Mapping[str, Any], shown: Sequence[str]
) -> None:
    resize = begun["resize"]
    text = f"under way: {begun['summary']}: {resize['state']}, {resize['detail']}"
    emit(context.output, begun, lambda: click.echo(printable(text)))
    show_warnings(begun, shown, err=True)
    say("watch: cachemesh migration watch; give it up: cachemesh migration abort")


def _has_changes(plan: Mapping[str, Any]) -> bool:
    return bool(plan["document"] is None or plan["version_after"] != plan["version_before"])


def _show_outcome(done: Mapping[str, Any]) -> None:
    if done["moves"]:
        click.echo(f"moved {moved_in_words(done)}")
    if done["document"] is not None:
        click.echo(printable(f"pool {done['pool']} is at version {done['version_after']}"))


def _send(
    context: CommandContext,
    change: PlannedChange,
    extra: Mapping[str, str | int | bool],
    wait_s: float,
) -> Any:
    """Send the request of a change, again and again while an earlier resize goes on.

    Args:
        context: names the metaserver.
        change: the change.
        extra: further parameters of the request.
        wait_s: seconds after which the refusal is raised.

    Raises:
        MetaserverError: the metaserver refused.
    """
    deadline = time.monotonic() + wait_s
    waiting = False
    while True:
        try:
            if change.body is None:
                query = {**change.query, **extra}
                return context.metaserver.request(change.method, change.path, query=query)
            return context.metaserver.request(change.method, change.path, {**change.body, **extra})
        except MetaserverError as error:
            if error.code != "resize-in-progress" or time.monotonic() >= deadline:
                raise
            if not waiting:
                say(f"waiting up to {wait_s:g} s: {error.detail}")
                waiting = True
        time.sleep(_RETRY_S)
