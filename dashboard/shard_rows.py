"""The rows of the list of shards, and what of them a browser has to be told.

A row of one line is a frame, which is rendered when it changes, and figures, which change all the
time: those are told as bare texts, so that neither side renders or parses anything for them. A
shard with its details is rendered as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dashboard.format import latency, number, percent, rate, size
from dashboard.shard_list import ListedShards
from dashboard.view_model import Felt, ShardRow

FULL = 0.95
"""From this part of its maxmemory on a master counts as full."""


@dataclass(frozen=True)
class LineFrame:
    """What seldom changes in a row of one line.

    Attributes:
        name, hue, state, placed: of the shard.
        share: of the slots, as text.
        serves: whether there are figures.
        note: why the shard needs attention, or "".
        grave: whether the note is about keys that are not served.
        lagging, full, failing: whether replicas, memory or errors need attention.
    """

    name: str
    hue: int
    state: str
    placed: bool
    share: str
    serves: bool
    note: str
    grave: bool
    lagging: bool
    full: bool
    failing: bool


@dataclass(frozen=True)
class ShardLine:
    """A shard in one line.

    Attributes:
        figures: operations, hit ratio, memory, keys, clients, replication, as apps feel it; in the
            order of the template.
    """

    frame: LineFrame
    figures: tuple[str, ...]


def shard_line(shard: ShardRow, felt: Felt | None) -> ShardLine:
    """Return a shard in one line.

    Args:
        felt: what apps felt of the shard; None if nobody called it.
    """
    facts = shard.figures
    used, limit = facts.get("used_memory"), facts.get("maxmemory") or 0
    failing = felt is not None and (felt.errors > 0 or felt.open > 0)
    note, grave = _note(shard, felt)
    frame = LineFrame(
        name=shard.name,
        hue=shard.hue,
        state=shard.state,
        placed=shard.placed,
        share=percent(shard.share) if shard.placed else "not placed",
        serves=bool(facts),
        note=note,
        grave=grave,
        lagging=shard.lagging,
        full=bool(limit) and used is not None and used / limit > FULL,
        failing=failing,
    )
    if not facts:
        return ShardLine(frame, ())
    return ShardLine(
        frame,
        (
            number(facts.get("ops_per_second")),
            percent(facts.get("hit_ratio")),
            f"{size(used)}, {percent(used / limit, 0)}"
            if limit and used is not None
            else size(used),
            number(facts.get("keys")),
            number(facts.get("clients")),
            shard.replicas,
            _felt(felt),
        ),
    )


def _note(shard: ShardRow, felt: Felt | None) -> tuple[str, bool]:
    if shard.reason:
        return shard.reason, shard.state == "down"
    if felt is not None and felt.open:
        return f"breaker open in {felt.open}", True
    return "", False


def _felt(felt: Felt | None) -> str:
    if felt is None:
        return ""
    told = [f"p99 {latency(felt.p99)}"] if felt.p99 is not None else []
    if felt.errors:
        told.append(f"{rate(felt.errors)} errors/s")
    return ", ".join(told)


@dataclass(frozen=True)
class RowNews:
    """What changes in the list of a browser.

    Attributes:
        html: rows that are new or have changed, in order.
        figures: name -> all figures of a row where nothing else has changed.
        order: the names of all rows, if that has changed.
    """

    html: str
    figures: Mapping[str, Sequence[str]]
    order: Sequence[str] | None

    def message(self) -> dict[str, object]:
        """Return what is sent; empty if nothing has changed."""
        parts = {"html": self.html, "figures": self.figures}
        told: dict[str, object] = {name: part for name, part in parts.items() if part}
        return told if self.order is None else {**told, "order": self.order}


class ShownRows:
    """The rows that one browser shows."""

    def __init__(self) -> None:
        self._order: tuple[str, ...] | None = None
        self._lines: dict[str, ShardLine] = {}
        self._detailed: dict[str, str] = {}

    def news(
        self,
        shown: ListedShards,
        lines: Mapping[str, ShardLine],
        line: Callable[[ShardLine], str],
        details: Callable[[ShardRow], str],
    ) -> RowNews:
        """Return what has changed since the last call, and take it for shown.

        Args:
            lines: of all shards, by name.
            line, details: render a row of one line, and one with its details.
        """
        html: list[str] = []
        figures: dict[str, Sequence[str]] = {}
        in_line: dict[str, ShardLine] = {}
        detailed: dict[str, str] = {}
        for shard in shown.shards:
            name = shard.name
            if name in shown.opened:
                detailed[name] = details(shard)
                if self._detailed.get(name) != detailed[name]:
                    html.append(detailed[name])
                continue
            in_line[name] = news = lines[name]
            before = self._lines.get(name)
            if before is None or before.frame != news.frame:
                html.append(line(news))
            elif before.figures != news.figures:
                figures[name] = news.figures
        order = tuple(shard.name for shard in shown.shards)
        changed = order != self._order
        self._order, self._lines, self._detailed = order, in_line, detailed
        return RowNews("".join(html), figures, order if changed else None)
