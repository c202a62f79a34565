"""Turns a metaserver's answers about one shard into what its page shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from dashboard.connections import ConnectionsView, connections_of
from dashboard.events import EventLine, event_line
from dashboard.felt import felt_of, felt_pool
from dashboard.migration_view import migration_of
from dashboard.sentinel_matrix import MatrixRow, sentinel_matrix
from dashboard.shard_answers import ShardAnswers
from dashboard.shard_work import WorkLine, work_on
from dashboard.slot_map import HUES
from dashboard.slow_log import SlowLogView, slow_log_of
from dashboard.upstream import Json, OperatorProblem
from dashboard.view import shard_row
from dashboard.view_model import Felt, FeltPool, ShardRow

WORST = 5
"""Clients that are named as those that feel it worst."""

_View = TypeVar("_View")


@dataclass(frozen=True)
class Asked(Generic[_View]):
    """What instances were asked for.

    Attributes:
        view: of what they said.
        problem: why that is not known; where both are None, the session's token may not ask.
    """

    view: _View | None = None
    problem: OperatorProblem | None = None


@dataclass(frozen=True)
class WorstClient:
    """A client that feels its pool badly.

    Attributes:
        client, app, host: as it is told; "" where nothing is.
        felt: of all shards together, in the last minute.
    """

    client: str
    app: str
    host: str
    felt: Felt


@dataclass(frozen=True)
class ShardPage:
    """Everything that the page of a shard shows.

    Attributes:
        row: the shard, with its instances.
        work: what is being done with it.
        felt: what the pool's apps feel.
        worst: the clients with most errors, then the slowest.
        sentinels: what each Sentinel says; None: none is asked about it any more.
        slow_log, connections: what its instances were asked for.
        events: about it, newest first.
        commands: what to type, each with what for.
    """

    row: ShardRow
    work: tuple[WorkLine, ...]
    felt: FeltPool | None
    worst: tuple[WorstClient, ...]
    sentinels: MatrixRow | None
    slow_log: Asked[SlowLogView]
    connections: Asked[ConnectionsView]
    events: tuple[EventLine, ...]
    commands: tuple[tuple[str, str], ...]


def shard_page(pool: str, told: ShardAnswers) -> ShardPage:
    """Return what the page of a shard shows."""
    name, status = str(told.shard["name"]), told.status
    names = [str(each["name"]) for each in status["shards"]]
    row = shard_row(names.index(name) if name in names else 0, told.shard)
    hues = {each: at % HUES for at, each in enumerate(names)}
    said = {each.shard: each for each in sentinel_matrix(told.sentinels).rows}
    return ShardPage(
        row=row,
        work=tuple(work_on(row, status, migration_of(status, hues))),
        felt=felt_pool(told.quality),
        worst=_worst(told),
        sentinels=said.get(name),
        slow_log=_asked(told.slow_log, slow_log_of),
        connections=_asked(told.connections, connections_of),
        events=tuple(map(event_line, told.events)),
        commands=tuple(_commands(pool, row).items()),
    )


def _asked(told: Json | OperatorProblem | None, view: Callable[[Json], _View]) -> Asked[_View]:
    if isinstance(told, OperatorProblem):
        return Asked(problem=told)
    return Asked() if told is None else Asked(view(told))


def _worst(told: ShardAnswers) -> tuple[WorstClient, ...]:
    known: Mapping[str, Json] = {str(each["client"]): each for each in told.clients}
    found = []
    for each in told.quality["clients"][:WORST]:
        client = str(each["client"])
        app, host = (str(known.get(client, {}).get(name) or "") for name in ("app", "host"))
        found.append(WorstClient(client, app, host, felt_of(each)))
    return tuple(found)


def _commands(pool: str, row: ShardRow) -> dict[str, str]:
    """Return what for -> what to type."""
    name, of = row.name, f"--pool {pool}"
    found = {
        "follow its state": f"cachemesh shard show {name} {of} --watch",
        "its slow commands": f"cachemesh shard slowlog {name} {of}",
        "its connections": f"cachemesh shard connections {name} {of}",
        "what apps feel": f"cachemesh quality {of}",
        "what happened": f"cachemesh event list --shard {name} --since 2h {of}",
        "its figures": f"cachemesh pool history {pool} --shard {name}",
    }
    if row.state == "draining":
        found["give up on it"] = f"cachemesh shard forget {name} {of} --dry-run"
    if row.placed:
        found["fail it over"] = f"cachemesh shard failover {name} {of} --dry-run"
        found["another share"] = f"cachemesh shard set-weight {name} {row.weight} {of} --dry-run"
        found["remove it"] = f"cachemesh shard remove {name} {of} --dry-run"
    return found
