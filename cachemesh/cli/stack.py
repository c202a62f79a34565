"""`cachemesh up` and `cachemesh down`: start and stop a stack on this machine."""

from __future__ import annotations

import functools
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from cachemesh.cli.output import Output, emit, say, show_fields
from cachemesh.cli.stack_info import address_list, info_fields
from cachemesh.cli.stack_options import (
    chosen_output,
    count_option,
    directory_option,
    explained,
    output_option,
    pool_option,
    port_option,
)
from cachemesh.cli.tables import Column, show, table
from cachemesh.local import LocalStack
from cachemesh.local.background import start_in_background
from cachemesh.local.foreground import run_in_foreground
from cachemesh.local.options import StackOptions
from cachemesh.local.shutdown import shut_down
from cachemesh.local.state import default_directory


@click.command()
@count_option("shards", "--shards", 3, "Shards in the pool.")
@count_option("replicas", "--replicas", 1, "Replicas of each shard's master.")
@count_option("sentinels", "--sentinels", 3, "Sentinels.")
@count_option(
    "metaservers", "--metaservers", 1, "Metaservers, on one SQLite file; 0 = Sentinel alone."
)
@count_option(
    "spares", "--spares", 0, "Masters with replicas outside the pool, to try `shard add`."
)
@count_option(
    "down_after_ms", "--down-after", 1000, "Milliseconds until Sentinel sees a master down."
)
@count_option(
    "maxmemory",
    "--maxmemory",
    256,
    "MiB of data in each instance, beyond which it evicts keys (allkeys-lru); 0 = no bound.",
)
@click.option(
    "--zookeeper",
    is_flag=True,
    help="Start a ZooKeeper too, in which the metaservers keep everything, in place of SQLite.",
)
@click.option(
    "--tls",
    is_flag=True,
    help="All but ZooKeeper speak TLS alone, also between themselves, with certificates made now.",
)
@click.option("--no-dashboard", is_flag=True, help="Start no dashboard.")
@pool_option
@directory_option
@click.option("-d", "--detach", "detached", is_flag=True, help="Run in the background.")
@port_option("--port", "The first metaserver's port [a free one].")
@port_option("--dashboard-port", "The dashboard's port [a free one].")
@output_option
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
    with explained("stack"):
        chosen = StackOptions(**options, dashboard=not no_dashboard, directory=place)
        report = functools.partial(_report, chosen_output(output), detached)
        if detached:
            report(start_in_background(chosen, say))
            return
        code = run_in_foreground(LocalStack.of(chosen), report, say)
    if code:
        raise click.exceptions.Exit(code)


def _report(output: Output, detached: bool, info: dict[str, Any]) -> None:
    def as_table() -> None:
        show_fields(info_fields(info))
        click.echo()
        rows = [
            (kind, shard["name"], shard["master"], address_list(shard["replicas"]))
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


@click.command()
@pool_option
@directory_option
def down(pool: str, directory: Path | None) -> None:
    """Stop the stack that `cachemesh up` started; exit 4 if there is none."""
    place = (directory or default_directory(pool)).absolute()
    with explained("stack"):
        running = shut_down(place)
    say(f"stopped the stack in {place}" if running else f"cleaned up the dead stack in {place}")
