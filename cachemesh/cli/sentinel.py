"""`cachemesh sentinel`: what each Sentinel says, asked one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachemesh.cli.context import Session, connected
from cachemesh.cli.output import emit
from cachemesh.cli.tables import show, table
from cachemesh.core.names import Address, parse_address
from cachemesh.discovery.wire import SentinelOptions

_TIMEOUT_S = 2.0


@click.group(no_args_is_help=False)
def sentinel() -> None:
    """Sentinels: the processes that watch the masters and decide who is one."""


@sentinel.command("list")
@connected
def list_sentinels(session: Session) -> None:
    """List what each Sentinel says about each shard of the pool."""
    document, options = session.document(), session.sentinel_options
    names = document.placement.names
    said = [_ask(parse_address(text), options, names) for text in document.sentinels]
    data = {"sentinels": said}
    emit(session.output, data, lambda: _show(said))


def _ask(address: Address, options: SentinelOptions, names: tuple[str, ...]) -> dict[str, Any]:
    connection = redis.Redis(
        host=address.host,
        port=address.port,
        username=options.username,
        password=options.password,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        **options.connection,
    )
    try:
        with connection:
            masters: Any = connection.sentinel_masters()
    except redis.RedisError as error:
        return {"address": str(address), "up": False, "error": str(error), "shards": []}
    shards = [_shard(name, masters.get(name)) for name in names]
    return {"address": str(address), "up": True, "error": None, "shards": shards}


def _shard(name: str, state: Mapping[str, Any] | None) -> dict[str, Any]:
    if state is None:
        return {"shard": name, "monitored": False}
    return {
        "shard": name,
        "monitored": True,
        "master": str(Address(str(state["ip"]), int(state["port"]))),
        "flags": str(state["flags"]),
        "quorum": int(state["quorum"]),
        "replicas": int(state["num-slaves"]),
        "other_sentinels": int(state["num-other-sentinels"]),
    }


def _show(said: list[dict[str, Any]]) -> None:
    rows: list[list[Any]] = []
    for entry in said:
        if not entry["up"]:
            rows.append([entry["address"], "down", entry["error"], *[None] * 6])
        for shard in entry["shards"]:
            fields = ("flags", "quorum", "replicas", "other_sentinels")
            says = shard["master"] if shard["monitored"] else "not monitored"
            rows.append(
                [entry["address"], "up", None, shard["shard"], says, *map(shard.get, fields)]
            )
    columns = ["sentinel", "state", "error", "shard", "master", "flags", "quorum>", "replicas>"]
    show(table([*columns, "other sentinels>"], rows))
