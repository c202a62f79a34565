"""`cachemesh up`, `down`, `status` and `doctor`: the stack on this machine."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from cachemesh.cli.context import Options
from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.cli.output import OUTPUT_HELP, OUTPUTS, Output, emit, printable, say, show_fields
from cachemesh.cli.tables import Cell, Column, show, state, table
from cachemesh.core.errors import InvalidDocumentError, LocalStackError
from cachemesh.core.names import check_name
from cachemesh.local import LocalStack
from cachemesh.local.background import start_in_background
from cachemesh.local.doctor.machine import Check, examine
from cachemesh.local.foreground import run_in_foreground
from cachemesh.local.options import LIMITS, StackOptions
from cachemesh.local.shutdown import shut_down
from cachemesh.local.stack_status import examine_stack
from cachemesh.local.state import NoStackError, default_directory

_PROCESSES = (
    Column("process", fit="middle"),
    Column("state"),
    Column("role", rank=2),
    Column("address"),
    Column("pid", right=True, rank=1),
    Column("", fit="end"),
)
_DIR_HELP = "Where its state and logs live [XDG_STATE_HOME/cachemesh/POOL]."


def _pool_name(context: click.Context, parameter: click.Parameter, name: str | None) -> str:
    try:
        return check_name("pool", name or _outer().pool or "cache")
    except InvalidDocumentError as error:
        raise click.BadParameter(str(error)) from error


def _outer() -> Options:
    given = click.get_current_context().find_object(Options)
    return given or Options()


def _output(given: Output | None) -> Output:
    return given or _outer().output or "table"


def _count(name: str, flag: str, default: int, text: str) -> Callable[..., Any]:
    low, high = LIMITS[name]
    return click.option(
        flag, name, type=click.IntRange(low, high), default=default, show_default=True, help=text
    )


def _port(flag: str, text: str) -> Callable[..., Any]:
    return click.option(flag, type=click.IntRange(1, 65_535), metavar="N", help=text)


_pool = click.option("--pool", metavar="NAME", callback=_pool_name, help="The pool's name [cache].")
_directory = click.option(
    "--dir", "directory", metavar="DIR", type=click.Path(path_type=Path), help=_DIR_HELP
)
_output_option = click.option("-o", "--output", type=click.Choice(OUTPUTS), help=OUTPUT_HELP)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """A LocalStackError as the command's own; the log lines in it go to stderr as they are."""
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


@click.command()
@_count("shards", "--shards", 3, "Shards in the pool.")
@_count("replicas", "--replicas", 1, "Replicas of each shard's master.")
@_count("sentinels", "--sentinels", 3, "Sentinels.")
@_count("metaservers", "--metaservers", 1, "Metaservers, on one SQLite file; 0 = Sentinel alone.")
@_count("spares", "--spares", 0, "Masters with replicas outside the pool, to try `shard add`.")
@_count("down_after_ms", "--down-after", 1000, "Milliseconds until Sentinel sees a master down.")
@click.option(
    "--zookeeper",
    is_flag=True,
    help="Start a ZooKeeper too and print its address; the metaserver does not use it yet.",
)
@click.option("--no-dashboard", is_flag=True, help="Start no dashboard.")
@_pool
@_directory
@click.option("-d", "--detach", "detached", is_flag=True, help="Run in the background.")
@_port("--port", "The first metaserver's port [a free one].")
@_port("--dashboard-port", "The dashboard's port [a free one].")
@_output_option
def up(
    directory: Path | None,
    detached: bool,
    no_dashboard: bool,
    output: Output | None,
    **options: Any,
) -> None:
    """Start a whole CacheMesh on this machine.

    Real Redis masters and replicas, Sentinels, a metaserver and the dashboard, all on free ports of
    127.0.0.1. In the foreground Ctrl-C stops it; with --detach `cachemesh down` does. The lines
    to paste into a shell come last; SPARE is the first spare master.
    """
    place = directory or default_directory(options["pool"])
    with _explained("stack"):
        chosen = StackOptions(**options, dashboard=not no_dashboard, directory=place)
        report = functools.partial(_report, _output(output), detached)
        if detached:
            report(start_in_background(chosen, say))
            return
        code = run_in_foreground(LocalStack.of(chosen), report, say)
    if code:
        raise click.exceptions.Exit(code)


def _report(output: Output, detached: bool, info: dict[str, Any]) -> None:
    def as_table() -> None:
        show_fields(_fields(info))
        click.echo()
        rows = [
            (kind, shard["name"], shard["master"], _addresses(shard["replicas"]))
            for kind, shards in (("shard", info["shards"]), ("spare", info["spares"]))
            for shard in shards
        ]
        columns = ("", Column("name", fit="middle"), "master", Column("replicas", rank=1))
        show(table(columns, rows), wide=output == "wide")
        click.echo()
        first = {"SPARE": info["spares"][0]["master"]} if info["spares"] else {}
        for name, value in (info["env"] | first).items():
            click.echo(f"export {name}={shlex.quote(value)}")

    emit(output, info, as_table)
    sys.stdout.flush()
    stop = f"cachemesh down --dir {info['dir']}" if detached else "Ctrl-C"
    say(f"ready; stop it with {stop}")


def _addresses(addresses: Sequence[str]) -> Cell:
    return Cell(addresses, str(len(addresses)))


def _fields(info: dict[str, Any]) -> list[tuple[str, object]]:
    names = ("pool", "url", "token_file", "metaservers", "sentinels", "zookeeper", "dashboard")
    found = [(name.replace("_", " "), info[name]) for name in (*names, "dir")]
    return [(name, value) for name, value in found if value]


@click.command()
@_pool
@_directory
def down(pool: str, directory: Path | None) -> None:
    """Stop the stack that `cachemesh up` started; exit 4 if there is none."""
    place = (directory or default_directory(pool)).absolute()
    with _explained("stack"):
        running = shut_down(place)
    say(f"stopped the stack in {place}" if running else f"cleaned up the dead stack in {place}")


@click.command()
@_pool
@_directory
@_output_option
def status(pool: str, directory: Path | None, output: Output | None) -> None:
    """Show the stack's processes and who is master now; exit 5 if something is down."""
    place = (directory or default_directory(pool)).absolute()
    with _explained("stack"):
        found = examine_stack(place)

    wide = _output(output) == "wide"

    def as_table() -> None:
        show_fields([*_fields(found), ("state", found["state"])])
        click.echo()
        rows = [
            (
                process["name"],
                state("up" if process["up"] else "DOWN"),
                process["role"] or process["kind"],
                process["address"],
                str(process["pid"]),
                process["detail"],
            )
            for process in found["processes"]
        ]
        show(table(_PROCESSES, rows), wide=wide)
        click.echo()
        shards = [
            (shard["name"], shard["master_now"], _addresses(shard["replicas_now"]))
            for shard in found["shards"]
        ]
        columns = (Column("shard", fit="middle"), "master now", Column("replicas now", rank=1))
        show(table(columns, shards), wide=wide)

    emit(_output(output), found, as_table)
    if found["state"] != "up":
        why, next_step = _trouble(found)
        say(f"error: stack in {place}: {why}")
        say(f"next: {next_step}")
        raise click.exceptions.Exit(ExitCode.UNHEALTHY)


def _trouble(found: Mapping[str, Any]) -> tuple[str, str]:
    """What keeps a stack from being up, and what to do about it."""
    at = f"--dir {shlex.quote(found['dir'])}"
    down = [process for process in found["processes"] if not process["up"]]
    if found["state"] == "starting":
        return "it is still starting", f"look again: cachemesh status {at}"
    if found["state"] == "down":
        return "nothing of it runs any more", f"clear it away: cachemesh down {at}; then start anew"
    if not down:
        return (
            "a shard has no master that answers",
            "within seconds a replica takes over; see: cachemesh sentinel list",
        )
    why = f"{', '.join(process['name'] for process in down)} down"
    ended = next((process for process in down if process["start"]), None)
    if ended is None:
        return why, f"see the log {down[0]['log']}"
    # `up` cannot do it: it makes a new stack, whose pool is new and empty.
    return why, f"end all (cachemesh down {at}), or start {ended['name']} again: {ended['start']}"


@click.command()
@_pool
@_directory
@_output_option
def doctor(pool: str, directory: Path | None, output: Output | None) -> None:
    """Check this machine, and the pool at CACHEMESH_URL; exit 5 if a check fails."""
    chosen = _output(output)
    outer = _outer()
    checks: list[Check] = []
    for check in examine(directory or default_directory(pool), outer.url, outer.token_file):
        checks.append(check)
        if chosen in ("table", "wide"):
            _show_check(check)
    failed = [check.name for check in checks if check.state == "fail"]
    data = {"healthy": not failed, "checks": [vars(check) for check in checks]}
    emit(chosen, data, lambda: None)
    say(f"failed: {', '.join(failed)}" if failed else "no check failed")
    if failed:
        raise click.exceptions.Exit(ExitCode.UNHEALTHY)


def _show_check(check: Check) -> None:
    click.echo(printable(f"{check.state:<4}  {check.name}: {check.detail}"))
    if check.next_step:
        click.echo(printable(f"      -> {check.next_step}"))


COMMANDS: list[click.Command] = [up, down, status, doctor]
