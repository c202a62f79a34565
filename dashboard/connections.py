"""Who is connected to a shard's master: by app, and the connections that stand out."""

from __future__ import annotations

from dataclasses import dataclass

from dashboard.upstream import Json

SHOWN = 10
"""Connections that a page names one by one, of each kind."""

_SERVERS = {
    "metaserver": "Metaservers",
    "sentinel": "Sentinels",
    "replica": "Replicas",
    "master": "Its master",
}


@dataclass(frozen=True)
class ConnectionsRow:
    """The connections of one app, of other software of one name, or of servers of one kind.

    Attributes:
        words: whose they are.
        app: the name by which its clients are found, or "".
        other: whether they are of other software.
        facts: the group's object in the metaserver's answer.
    """

    words: str
    app: str
    other: bool
    facts: Json


@dataclass(frozen=True)
class ConnectionRow:
    """One connection.

    Attributes:
        words: whose it is.
        client: the id of the client of a pool, or "".
        waits: why it may be idle or full: "blocked", "subscribed" or "".
        facts: the connection's object in the metaserver's answer.
    """

    words: str
    client: str
    waits: str
    facts: Json


@dataclass(frozen=True)
class ConnectionsView:
    """The connections of a master.

    Attributes:
        instance: its address, or "".
        error: why it did not tell, or "".
        count: how many there are.
        rows: those with most connections first.
        more: how many groups are left out.
        idle, large: those idle longest, and those with large output.
    """

    instance: str
    error: str
    count: int
    rows: tuple[ConnectionsRow, ...]
    more: int
    idle: tuple[ConnectionRow, ...]
    large: tuple[ConnectionRow, ...]


def connections_of(told: Json) -> ConnectionsView:
    """Return what `GET .../connections` tells."""
    return ConnectionsView(
        instance=str(told["instance"] or ""),
        error=str(told["error"] or ""),
        count=int(told["connections"]),
        rows=tuple(map(_row, told["groups"])),
        more=int(told["groups_left_out"]),
        idle=tuple(map(_connection, told["idle"])),
        large=tuple(map(_connection, told["large_output"])),
    )


def _row(group: Json) -> ConnectionsRow:
    owner = str(group["owner"])
    app = str(group["name"]) if owner == "app" else ""
    return ConnectionsRow(_words(group), app, owner == "other", group)


def _connection(one: Json) -> ConnectionRow:
    waits = "blocked" if one["blocked"] else "subscribed" if one["subscribed"] else ""
    return ConnectionRow(_words(one), str(one["client"] or ""), waits, one)


def _words(told: Json) -> str:
    """Return whose a connection or a group is."""
    return _SERVERS.get(str(told["owner"])) or str(told["name"]) or "no name"
