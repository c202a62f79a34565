"""`cachemesh key`: locates, reads, sets and deletes keys."""

from __future__ import annotations

import base64
import sys
from typing import Any

import click
import redis

from cachemesh.cli.change import confirm, dry_run_option, end_dry_run, yes_option
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.escapes import escaped_option, on_terminal, parse_bytes, shown
from cachemesh.cli.key_info import absent, info, other_type
from cachemesh.cli.key_scan import scan
from cachemesh.cli.output import emit, say, show_fields
from cachemesh.cli.param_types import Number
from cachemesh.core.placement import SlotsPlacement
from cachemesh.core.placement.keys import key_bytes, key_slot
from cachemesh.core.plurals import counted

_LONGEST_TTL_S = 1e10
"""Three hundred years. Redis refuses times that overflow 64 bits of milliseconds since 1970."""


@click.group(no_args_is_help=False)
def key() -> None:
    """Keys: where they live and what is in them."""


key.add_command(info)
key.add_command(scan)


@key.command()
@click.argument("key")
@escaped_option
@with_context
def locate(context: CommandContext, key: str, escaped: bool) -> None:
    """Say which shard owns a key, and which instances hold it."""
    raw = parse_bytes(key, escaped)
    data = _locate(context, raw)
    emit(context.output, data, lambda: show_fields(data.items()))


@key.command()
@click.argument("key")
@escaped_option
@with_context
def get(context: CommandContext, key: str, escaped: bool) -> None:
    """Print a key's value; exit 4 if there is no such key.

    Into a pipe or file goes the value, byte for byte, with nothing added. A terminal gets a line
    in which control characters, and bytes that are not UTF-8, are escaped.
    """
    raw = parse_bytes(key, escaped)
    with context.client() as client:
        shard = client.shard_for(raw)
        try:
            value: Any = client.with_options(on_error="raise").get(raw)
        except redis.ResponseError as error:
            if str(error).startswith("WRONGTYPE"):
                raise other_type(client, raw) from error
            raise
    if value is None:
        raise absent(raw, shard)
    data = {"key": shown(raw), "shard": shard, **_value(value)}
    emit(context.output, data, lambda: _print(value))


@key.command("set")
@click.argument("key")
@click.argument("value")
@click.option(
    "--ttl",
    type=Number(0.001, _LONGEST_TTL_S),
    metavar="SECONDS",
    help="Forget the key after that many seconds [never].",
)
@escaped_option
@dry_run_option
@with_context
def set_key(
    context: CommandContext, key: str, value: str, ttl: float | None, escaped: bool, dry_run: bool
) -> None:
    """Give a key a value; "-" reads the value from standard input."""
    raw = parse_bytes(key, escaped)
    content = sys.stdin.buffer.read() if value == "-" else parse_bytes(value, escaped)
    with context.client() as client:
        data: dict[str, Any] = {
            "dry_run": dry_run,
            "key": shown(raw),
            "shard": client.shard_for(raw),
            "bytes": len(content),
            "ttl": ttl,
        }
        if dry_run:
            data["replaces"] = bool(client.exists(raw))
        else:
            client.set(raw, content, px=None if ttl is None else round(ttl * 1000))
    emit(context.output, data, lambda: show_fields(data.items()))
    if dry_run:
        end_dry_run(has_changes=True)


@key.command("del")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@escaped_option
@dry_run_option
@yes_option
@with_context
def delete(
    context: CommandContext, keys: tuple[str, ...], escaped: bool, dry_run: bool, yes: bool
) -> None:
    """Delete keys."""
    raws = [parse_bytes(key, escaped) for key in keys]
    with context.client() as client:
        found = [raw for raw in dict.fromkeys(raws) if client.exists(raw)]
        destroys = [f"key {shown(raw)} on shard {client.shard_for(raw)}" for raw in found]
        data: dict[str, Any] = {"dry_run": dry_run, "deleted": 0, "destroys": destroys}
        if not dry_run and found:
            confirm(f"delete {counted(len(found), 'key')}", destroys, yes)
            data["deleted"] = client.delete(*found)
    emit(context.output, data, lambda: show_fields(data.items()))
    if dry_run:
        end_dry_run(has_changes=bool(found))


def _print(value: bytes) -> None:
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(value)
        return
    text = on_terminal(value)
    click.echo(text)
    if text.encode("utf-8") != value:
        say("shown escaped; a pipe or file gets the bytes as they are")


def _value(value: bytes) -> dict[str, str]:
    try:
        return {"value": value.decode("utf-8")}
    except UnicodeDecodeError:
        return {"value_base64": base64.b64encode(value).decode()}


def _locate(context: CommandContext, raw: bytes) -> dict[str, Any]:
    key_bytes(raw)
    if context.speaks_to_metaserver:
        document = context.document()
        shard = document.placement.shard_for(raw)
        status = context.get("shards", shard)
        master = status["master"]["address"]
        replicas = [replica["address"] for replica in status["replicas"]]
    else:
        # Without a metaserver, the client's own topology tells.
        with context.client() as client:
            topology = client.topology
        document = topology.document
        shard = document.placement.shard_for(raw)
        found = topology.masters.get(shard)
        master, replicas = None if found is None else str(found), None
    slots = isinstance(document.placement, SlotsPlacement)
    return {
        "key": shown(raw),
        "pool": document.pool,
        "slot": key_slot(raw) if slots else None,
        "shard": shard,
        "master": master,
        "replicas": replicas,
    }
