"""What is being done with a shard: a failover, its joining or leaving, a move of keys, a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dashboard.format import number, percent
from dashboard.upstream import Json
from dashboard.view_model import MigrationPanel, MigrationSource, ShardRow


@dataclass(frozen=True)
class WorkLine:
    """Work on a shard.

    Attributes:
        state: picks the colour and icon.
        word: the state of the work.
        what: is being done.
        why: it is so, or waits; or "".
    """

    state: str
    word: str
    what: str
    why: str = ""


def work_on(shard: ShardRow, status: Json, migration: MigrationPanel | None) -> list[WorkLine]:
    """Return all that is being done with a shard.

    Args:
        status: of the pool.
        migration: the resize of the pool under way.
    """
    return [
        *_of_state(shard),
        *(_of_migration(shard.name, migration) if migration is not None else ()),
        *_of_sweeps(shard.name, status),
        *_of_pause(status),
    ]


def _of_state(shard: ShardRow) -> Iterator[WorkLine]:
    why = shard.reason or ""
    if shard.state == "failing over":
        yield WorkLine("failing over", "failing over", "A replica takes over as planned", why)
    elif shard.sentinel.get("failover"):
        yield WorkLine("degraded", "failover", "The Sentinels fail it over")
    if shard.state == "joining":
        yield WorkLine("joining", "joining", "It becomes a part of the pool", why)
    if shard.state == "draining":
        what = "It has left the pool: its keys are removed, then the Sentinels forget it"
        yield WorkLine("draining", "draining", what)


def _of_migration(name: str, migration: MigrationPanel) -> Iterator[WorkLine]:
    """Yield what a resize does with a shard, or that it does nothing with it."""
    if name in migration.lost:
        what = "The migration goes on without its data, as an operator has said that it is lost"
        yield WorkLine("down", "lost", what)
    involved = [each for each in migration.sources if name == each.shard or name in each.to]
    for source in involved:
        yield _move(name, source, migration.state)
    if not involved:
        what = f"The pool is resized: {migration.summary}"
        yield WorkLine("info", migration.state, what, migration.why)


def _move(name: str, source: MigrationSource, state: str) -> WorkLine:
    if name == source.shard:
        what = f"Keys move to {', '.join(source.to) or 'other shards'}"
    else:
        what = f"Keys move here from {source.shard}"
    told = [percent(source.share)] if source.share is not None else []
    if source.left is not None:
        told.append(f"{number(source.left)} left")
    words = f"{what}: {', '.join(told)}" if told else what
    if source.state == "done":
        return WorkLine("up", "done", words)
    if source.why:
        return WorkLine("degraded", "waits", words, source.why)
    return WorkLine("draining", "paused" if state == "paused" else source.state, words)


def _of_sweeps(name: str, status: Json) -> Iterator[WorkLine]:
    for sweep in status.get("sweeps") or ():
        if sweep["shard"] == name:
            word = str(sweep["state"])
            removed = number(sweep.get("removed"))
            what = f"A sweep removes the keys that it no longer owns: {removed} removed"
            yield WorkLine(word, word, what, str(sweep.get("detail") or ""))


def _of_pause(status: Json) -> Iterator[WorkLine]:
    pause = status.get("pause")
    if pause:
        by = str(pause.get("by")).removeprefix("token:")
        why = str(pause.get("reason") or "")
        yield WorkLine("info", "paused", f"The pool is paused by {by}: nothing is begun", why)
