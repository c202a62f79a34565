"""`cachemesh key info`: type, TTL and size of a key; errors for absent keys and other types."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import click
import redis

from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.cli.escapes import escaped_option, parse_bytes, shown
from cachemesh.cli.output import cell, duration, emit, show_fields, size
from cachemesh.core.plurals import counted
from cachemesh.sync.client import CacheMesh


@dataclass(frozen=True)
class ValueType:
    """A type of Redis value.

    Attributes:
        length: the method of `redis.Redis` that returns the value's length.
        holds: what the length counts, in the singular.
        show: the command that prints the whole value: words before and after the key.
    """

    length: str
    holds: str
    show: tuple[tuple[str, ...], tuple[str, ...]]


KINDS = {
    "string": ValueType("strlen", "byte", (("GET",), ())),
    "hash": ValueType("hlen", "field", (("HGETALL",), ())),
    "list": ValueType("llen", "element", (("LRANGE",), ("0", "-1"))),
    "set": ValueType("scard", "member", (("SMEMBERS",), ())),
    "zset": ValueType("zcard", "member", (("ZRANGE",), ("0", "-1", "WITHSCORES"))),
    "stream": ValueType("xlen", "message", (("XRANGE",), ("-", "+"))),
}
"""By the reply to TYPE. Types of modules have no common command for their length."""


@click.command()
@click.argument("key")
@escaped_option
@with_context
def info(context: CommandContext, key: str, escaped: bool) -> None:
    """Say of which type a key is, how long it lives, and how large it is; exit 4 if it is absent.

    Memory is what Redis estimates (MEMORY USAGE). What an ACL forbids to ask is left empty.
    """
    raw = parse_bytes(key, escaped)
    with context.client() as client:
        data = key_info(client, raw)
    emit(context.output, data, lambda: show_fields(_fields(data)))


def key_info(client: CacheMesh, raw: bytes) -> dict[str, Any]:
    """Ask a key's master for the key's type, TTL, memory, encoding and length.

    Args:
        client: of the pool.
        raw: the key.

    Raises:
        CommandError: the key does not exist.
        redis.RedisError: the shard does not answer.
    """
    master = client.with_options(read_from="master", on_error="raise")
    kind = str(_text(master.type(raw)))
    with master.pipeline(transaction=False) as pipeline:
        pipeline.pttl(raw)
        pipeline.memory_usage(raw)
        pipeline.object("ENCODING", raw)
        if kind in KINDS:
            getattr(pipeline, KINDS[kind].length)(raw)
        ttl, *rest = pipeline.execute(raise_on_error=False)
    if isinstance(ttl, redis.RedisError):
        raise ttl
    memory, encoding, *length = map(_told, rest)
    shard = client.shard_for(raw)
    if kind == "none" or ttl == -2:
        raise absent(raw, shard)
    return {
        "key": shown(raw),
        "shard": shard,
        "type": kind,
        "ttl": ttl / 1000 if ttl >= 0 else None,
        "memory": memory,
        "encoding": _text(encoding),
        "length": length[0] if length else None,
    }


def absent(raw: bytes, shard: str) -> CommandError:
    """Return the error for a key that does not exist."""
    return CommandError(
        f"key {shown(raw) or '(empty)'}",
        f"shard {shard} of the pool holds no such key",
        "check how it is spelled; it may also have expired",
        ExitCode.NOT_FOUND_OR_CONFLICT,
    )


def other_type(client: CacheMesh, raw: bytes) -> CommandError:
    """Return the error for a key that holds no string: what it holds, and how to print that."""
    found = key_info(client, raw)
    kind = KINDS.get(found["type"])
    count = "" if kind is None or found["length"] is None else counted(found["length"], kind.holds)
    holds = f"a {found['type']}" + (f" of {count}" if count else "")
    name = shlex.quote(found["key"])
    following = f"cachemesh key info {name}"
    master = client.topology.masters.get(found["shard"])
    if kind is not None and master is not None and found["key"] == raw.decode(errors="replace"):
        before, after = kind.show
        words = " ".join([*before, name, *after])
        following = f"redis-cli -h {master.host} -p {master.port} {words}; or: {following}"
    return CommandError(f"key {found['key']}", f"it holds {holds}, not a string", following)


def _fields(data: dict[str, Any]) -> list[tuple[str, object]]:
    kind = KINDS.get(data["type"])
    length = data["length"]
    return [
        ("key", data["key"]),
        ("shard", data["shard"]),
        ("type", data["type"]),
        ("time to live", "for ever" if data["ttl"] is None else duration(data["ttl"])),
        ("memory", size(data["memory"])),
        ("encoding", data["encoding"]),
        ("length", cell(length) if kind is None else counted(length, kind.holds)),
    ]


def _told(reply: Any) -> Any:
    """Return a reply, or None if the shard refused the command.

    Raises:
        redis.RedisError: the connection broke.
    """
    if isinstance(reply, redis.ResponseError):
        return None
    if isinstance(reply, redis.RedisError):
        raise reply
    return reply


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
