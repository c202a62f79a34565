"""`cachemesh pool`: what pools there are, how they do, and their settings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import click

from cachemesh.cli.change import Change, Flags, carry_out, change_options
from cachemesh.cli.context import Session, connected
from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.cli.output import emit, printable, say, show_fields
from cachemesh.cli.shard import shard_table
from cachemesh.cli.tables import Column, show, state, table
from cachemesh.core.errors import MetaserverError
from cachemesh.core.names import check_name, check_new_pool, parse_address
from cachemesh.core.pool.settings import SETTINGS
from cachemesh.core.words import counted


@click.group(no_args_is_help=False)
def pool() -> None:
    """Pools: sets of shards that together hold one cache."""


pool_name = click.argument("name", required=False)


def _named(session: Session, name: str | None) -> Session:
    """The session, about the pool named on the command line if one was."""
    return session if name is None else Session(replace(session.options, pool=name))


@pool.command("list")
@connected
def list_pools(session: Session) -> None:
    """List the pools of the metaserver."""
    data = session.metaserver.request("GET", "/v1/pools")
    fields = ("pool", "version", "strategy", "shards")
    rows = [[*map(entry.get, fields), state(entry["health"])] for entry in data["pools"]]
    columns = (Column("pool", fit="middle"), "version>", "strategy", "shards>", "health")
    emit(session.output, data, lambda: show(table(columns, rows), wide=session.wide))


@pool.command("show")
@pool_name
@connected
def show_pool(session: Session, name: str | None) -> None:
    """Show a pool's document."""
    document = _named(session, name).get()
    emit(session.output, document, lambda: _show_document(document, session.wide))


@pool.command()
@pool_name
@connected
def status(session: Session, name: str | None) -> None:
    """Show how a pool and its instances do; exit 5 unless all is well."""
    session = _named(session, name)
    data = session.get("status")
    emit(session.output, data, lambda: _show_status(data, session.wide))
    if data["health"] != "ok":
        say(f"error: pool {session.pool}: its health is {data['health']}")
        say(f"next: {_next_step(data)}")
        raise click.exceptions.Exit(ExitCode.UNHEALTHY)


@pool.command()
@click.argument("name")
@click.option(
    "--shard",
    "shards",
    multiple=True,
    required=True,
    metavar="NAME=HOST:PORT[,weight=N]",
    help="A shard and its master; once for each.",
)
@click.option(
    "--sentinel",
    "sentinels",
    multiple=True,
    required=True,
    metavar="HOST:PORT",
    help="A Sentinel that shall watch the shards; once for each.",
)
@click.option(
    "--quorum",
    type=click.IntRange(min=1),
    help="How many Sentinels must agree that a master is down [a majority].",
)
@click.option("--allow-nonempty", is_flag=True, help="Take masters that already hold keys.")
@change_options
@connected
def create(
    session: Session,
    name: str,
    shards: tuple[str, ...],
    sentinels: tuple[str, ...],
    quorum: int | None,
    allow_nonempty: bool,
    dry_run: bool,
    yes: bool,
    wait: float,
) -> None:
    """Make a pool of masters that run already, and have Sentinels watch them."""
    body: dict[str, Any] = {
        "pool": check_new_pool(name),
        "sentinels": [str(parse_address(sentinel, 26_379)) for sentinel in sentinels],
        "shards": [parse_shard(text) for text in shards],
    }
    if quorum is not None:
        body["quorum"] = quorum
    if allow_nonempty:
        body["allow_nonempty"] = True
    change = Change(f"create pool {name}", "POST", "/v1/pools", body, versioned=False)
    carry_out(_named(session, name), change, Flags(dry_run, yes, wait))


@pool.command()
@click.argument("name")
@change_options
@connected
def delete(session: Session, name: str, dry_run: bool, yes: bool, wait: float) -> None:
    """Forget a pool. Its instances keep running; Sentinels no longer watch them."""
    session = _named(session, name)
    change = Change(f"delete pool {session.pool}", "DELETE", session.path())
    carry_out(session, change, Flags(dry_run, yes, wait))


@pool.command("set")
@click.argument("settings", nargs=-1, required=True, metavar="KEY=VALUE...")
@change_options
@connected
def set_settings(
    session: Session, settings: tuple[str, ...], dry_run: bool, yes: bool, wait: float
) -> None:
    """Change settings; every running client applies them. KEY= resets to the default."""
    values = dict(parse_setting(text) for text in settings)
    unknown = [name for name in values if name not in SETTINGS]
    # A newer metaserver may know more, and a pool may hold what a newer one has set.
    if unknown and not any(values[name] is not None for name in unknown):
        held = session.get()["settings"]
        if strange := [name for name in unknown if name not in held]:
            raise _no_such_setting(strange[0])
    change = Change(
        f"set pool {session.pool}", "PATCH", session.path("settings"), {"settings": values}
    )
    try:
        carry_out(session, change, Flags(dry_run, yes, wait))
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


def parse_shard(text: str) -> dict[str, Any]:
    """``NAME=HOST:PORT[,weight=N]`` as the API takes it.

    Raises:
        click.UsageError, InvalidDocumentError: it is not of that form.
    """
    name, equals, rest = text.partition("=")
    address, comma, option = rest.partition(",")
    if not equals:
        raise click.UsageError(f"--shard {text!r:.100}: write NAME=HOST:PORT[,weight=N].")
    shard: dict[str, Any] = {
        "name": check_name("shard", name),
        "master": str(parse_address(address)),
    }
    if comma:
        key, _, weight = option.partition("=")
        if key != "weight" or not (weight.isascii() and weight.isdigit() and len(weight) < 10):
            raise click.UsageError(f"--shard {text!r:.100}: after the address comes weight=N.")
        shard["weight"] = int(weight)
    return shard


def parse_setting(text: str) -> tuple[str, Any]:
    """``KEY=VALUE``; the value is JSON, or else text; an empty one is None, the default.

    Raises:
        click.UsageError: it is not of that form.
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
    """A number; as text what JSON has none for, so that the setting is what is complained of."""
    number = float(text)
    return number if math.isfinite(number) else text


def _show_document(document: Mapping[str, Any], wide: bool) -> None:
    placement = document["placement"]
    fields = [
        ("pool", document["pool"]),
        ("version", document["version"]),
        ("placement", f"{placement['strategy']}, hash {placement.get('hash', '-')}"),
        ("sentinels", document["sentinels"]),
        *((f"setting {key}", value) for key, value in document["settings"].items()),
    ]
    show_fields(fields)
    rows = []
    for shard in placement["shards"]:
        slots = shard.get("slots", [])
        ranges = ", ".join(f"{a}-{b}" if a != b else f"{a}" for a, b in slots)
        count = sum(b - a + 1 for a, b in slots) if slots else None
        rows.append([shard["name"], shard.get("weight", 1), count, ranges or "-"])
    click.echo()
    columns = (Column("shard", fit="middle"), "weight>", "slots>", Column("ranges", fit="end"))
    show(table(columns, rows), wide=wide)


def _show_status(data: Mapping[str, Any], wide: bool) -> None:
    clients = counted(data["clients"], "client")
    click.echo(
        printable(
            f"pool {data['pool']}, version {data['version']}: {data['health']}, "
            f"{clients}, at {data['at']}"
        )
    )
    show(shard_table(data["shards"]), wide=wide)
    sentinels = [
        (entry["address"], state("up" if entry["up"] else "down"), entry.get("error") or "")
        for entry in data["sentinels"]
    ]
    click.echo()
    show(table(["sentinel", "state", Column("reason", fit="end")], sentinels), wide=wide)
    if data["sweeps"]:
        click.echo()
        rows = [[s["shard"], s["state"], s["removed"], s["detail"]] for s in data["sweeps"]]
        columns = (
            Column("sweep of", fit="middle"),
            "state",
            "removed>",
            Column("detail", fit="end"),
        )
        show(table(columns, rows), wide=wide)
    for shard in data["shards"]:
        if shard.get("reason"):
            click.echo(printable(f"{shard['name']}: {shard['reason']}"))


def _next_step(data: Mapping[str, Any]) -> str:
    for shard in data["shards"]:
        if shard["state"] in ("down", "degraded"):
            return f"look at shard {shard['name']}: cachemesh shard show {shard['name']}"
    return "look at the Sentinels: cachemesh sentinel list"
