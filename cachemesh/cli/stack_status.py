"""`cachemesh status`: the processes of the stack on this machine, and who is master now."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cachemesh.cli.errors import ExitCode
from cachemesh.cli.migration_tables import show_migration_line
from cachemesh.cli.output import Output, emit, say, show_fields
from cachemesh.cli.stack_info import address_list, info_fields
from cachemesh.cli.stack_options import (
    chosen_output,
    directory_option,
    explained,
    output_option,
    pool_option,
)
from cachemesh.cli.tables import Column, show, state, table
from cachemesh.cli.watchable import watchable
from cachemesh.local.stack_status import examine_stack
from cachemesh.local.state import default_directory

_PROCESSES = (
    Column("process", fit="middle"),
    Column("state"),
    Column("role", rank=2),
    Column("address"),
    Column("pid", right=True, rank=1),
    Column("", fit="end"),
)


@click.command()
@pool_option
@directory_option
@output_option
@watchable
def status(pool: str, directory: Path | None, output: Output | None) -> None:
    """Show the stack's processes and who is master now; exit 5 if something is down."""
    place = (directory or default_directory(pool)).absolute()
    with explained("stack"):
        found = examine_stack(place)

    wide = chosen_output(output) == "wide"

    def as_table() -> None:
        show_fields([*info_fields(found), ("state", found["state"])])
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
            (shard["name"], shard["master_now"], address_list(shard["replicas_now"]))
            for shard in found["shards"]
        ]
        columns = (Column("shard", fit="middle"), "master now", Column("replicas now", rank=1))
        show(table(columns, shards), wide=wide)
        show_migration_line(found)

    emit(chosen_output(output), found, as_table)
    if found["state"] != "up":
        why, next_step = _trouble(found)
        say(f"error: stack in {place}: {why}")
        say(f"next: {next_step}")
        raise click.exceptions.Exit(ExitCode.UNHEALTHY)


def _trouble(found: Mapping[str, Any]) -> tuple[str, str]:
    """Return what keeps a stack from being up, and what to do about it."""
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
    # `up` cannot start one process: it makes a new stack, with a new and empty pool.
    return why, f"end all (cachemesh down {at}), or start {ended['name']} again: {ended['start']}"
