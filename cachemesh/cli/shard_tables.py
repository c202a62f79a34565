"""How the CLI shows shards, in a table or one alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from cachemesh.cli.output import percent, show_fields, size
from cachemesh.cli.tables import Cell, Column, Table, show, state, table

_SHARDS = (
    Column("shard", fit="middle"),
    Column("state"),
    Column("weight", right=True, rank=1),
    Column("share", right=True, rank=4),
    Column("master"),
    Column("keys", right=True, rank=6),
    Column("ops/s", right=True, rank=5),
    Column("hits", right=True, rank=2),
    Column("memory", right=True, rank=3),
    Column("replicas", rank=8),
    Column("sentinel", rank=7),
)
_INSTANCES = (
    Column("instance"),
    Column("role"),
    Column("up"),
    Column("keys", right=True, rank=4),
    Column("ops/s", right=True, rank=3),
    Column("hits", right=True, rank=1),
    Column("memory", right=True, rank=2),
    Column("link", rank=6),
    Column("lag", right=True, rank=5),
    Column("error", rank=7, fit="end"),
)


def shard_table(shards: Iterable[Mapping[str, Any]]) -> Table:
    """Return a table with a row for each shard of the metaserver's status."""
    rows = []
    for entry in shards:
        master = entry["master"]
        rows.append(
            [
                entry["name"],
                state(entry["state"]),
                entry["weight"],
                percent(entry["share"]),
                master["address"],
                master.get("keys"),
                master.get("ops_per_second"),
                percent(master.get("hit_ratio")),
                size(master.get("used_memory")),
                _replicas(entry["replicas"]),
                _sentinels(entry["sentinel"]),
            ]
        )
    return table(_SHARDS, rows)


def _replicas(replicas: Sequence[Mapping[str, Any]]) -> Cell:
    told = [(replica["address"], _condition(replica)) for replica in replicas]
    fine = sum(condition == "ok" for _, condition in told)
    return Cell(
        ", ".join(f"{address} {condition}" for address, condition in told) or "-",
        f"{fine}/{len(told)}" if told else "none",
        "" if fine == len(told) else "red",
    )


def _condition(replica: Mapping[str, Any]) -> str:
    if not replica["up"]:
        return "down"
    return "ok" if replica.get("link") == "up" else f"link {replica.get('link') or 'unknown'}"


def _sentinels(sentinel: Mapping[str, Any]) -> Cell:
    trouble = "" if sentinel["agree"] else " split"
    if not sentinel["usable"]:
        trouble = " NOQUORUM"
    short = f"{sentinel['seen_by']}/{sentinel['of']} q{sentinel['quorum']}{trouble}"
    return Cell(sentinel["detail"], short, "red" if trouble else "")


def show_shard_details(data: Mapping[str, Any], wide: bool) -> None:
    """Print one shard with its instances; ``wide``: with all columns."""
    sentinel = data["sentinel"]
    show_fields(
        [
            ("shard", data["name"]),
            ("state", data["state"]),
            ("reason", data.get("reason")),
            ("weight", data["weight"]),
            ("slots", data["slots"]),
            ("share", percent(data["share"])),
            ("sentinel", sentinel["detail"]),
            ("quorum", sentinel["quorum"]),
            ("sentinels agree", sentinel["agree"]),
            ("failover under way", sentinel["failover"]),
        ]
    )
    click.echo()
    instances = [data["master"], *data["replicas"]]
    rows = [
        [
            instance["address"],
            instance.get("role"),
            instance["up"],
            instance.get("keys"),
            instance.get("ops_per_second"),
            percent(instance.get("hit_ratio")),
            size(instance.get("used_memory")),
            instance.get("link"),
            size(instance.get("lag_bytes")),
            instance.get("error"),
        ]
        for instance in instances
    ]
    show(table(_INSTANCES, rows), wide=wide)
