"""The commands that took longest of late on the instances of a shard, slowest first."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime

from cachemesh.core.connection_names import own_name
from cachemesh.core.fencing import client_of
from dashboard.format import parse_time
from dashboard.upstream import Json

SHOWN = 10
"""Commands that a page shows; of each instance as many are asked for."""


@dataclass(frozen=True)
class SlowCommandLine:
    """A command that took long.

    Attributes:
        at: when it ran, by the instance's clock.
        seconds: how long it ran.
        instance, role: where.
        address: of who sent it.
        app: the name of who sent it; "" if there is none.
        client: the id of the client of a pool that sent it, or "".
        command: with its arguments, as a shell would take them.
    """

    at: datetime | None
    seconds: float
    instance: str
    role: str
    address: str
    app: str
    client: str
    command: str


@dataclass(frozen=True)
class SilentInstance:
    """An instance that did not tell, and why."""

    role: str
    instance: str
    reason: str


@dataclass(frozen=True)
class SlowLogView:
    """The slow logs of a shard's instances together.

    Attributes:
        commands: the slowest, `SHOWN` at most.
        silent: the instances that did not tell.
    """

    commands: tuple[SlowCommandLine, ...]
    silent: tuple[SilentInstance, ...]


def slow_log_of(told: Json) -> SlowLogView:
    """Return what `GET .../slowlog` tells."""
    instances = told["instances"]
    found = [_line(each, command) for each in instances for command in each["commands"]]
    found.sort(key=lambda line: -line.seconds)
    silent = (
        SilentInstance(str(each["role"]), str(each["instance"]), str(each["error"]))
        for each in instances
        if each["error"] is not None
    )
    return SlowLogView(tuple(found[:SHOWN]), tuple(silent))


def _line(instance: Json, command: Json) -> SlowCommandLine:
    name = str(command["client_name"])
    client = client_of(name)
    return SlowCommandLine(
        at=parse_time(str(command["at"])),
        seconds=float(command["seconds"]),
        instance=str(instance["instance"]),
        role=str(instance["role"]),
        address=str(command["client"]),
        app=own_name(client, name) or "",
        client=client or "",
        command=" ".join(shlex.quote(str(word)) for word in command["command"]),
    )
