"""Renders a pool's board, once for all browsers that show the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache

from flask import render_template

from dashboard.charts import Spark
from dashboard.feed import PoolFeed, PoolSnapshot
from dashboard.shard_list import ListedShards, ListOptions, listed
from dashboard.shard_rows import ShardLine, shard_line
from dashboard.slot_map import SlotMap
from dashboard.view import board, freshness, ops_spark
from dashboard.view_model import Board, Felt, Freshness, ShardRow

FRAGMENTS = ("pools", "alerts", "totals", "migration", "felt", "events", "side")
"""The parts of the page that all browsers share, but for the slot map."""

OF_THE_LIST = ("found", "head")
"""The parts that depend on how a browser lists the shards."""

_MAPS = 32  # that stay rendered: they change when the pool does, or a state


@dataclass(frozen=True)
class ShownBoard:
    """A snapshot of a pool as browsers of one role are shown it.

    Attributes:
        feed: of the pool, which keeps what was rendered.
        snapshot: what is known of the pool.
        view: all that the page shows of it.
        can_change: whether the page offers changes.
        link: how current the snapshot is.
        now: the current time.
    """

    feed: PoolFeed
    snapshot: PoolSnapshot
    view: Board
    can_change: bool
    link: Freshness
    now: datetime

    @classmethod
    def of(
        cls, feed: PoolFeed, pool: str, snapshot: PoolSnapshot, *, can_change: bool
    ) -> ShownBoard:
        """Return a snapshot as it is shown now.

        Args:
            can_change: whether the session may change the pool.
        """
        view = feed.shared(snapshot.serial, ("board",), lambda: board(pool, snapshot))
        now = datetime.now(timezone.utc)
        changes = can_change and not view.observer
        return cls(feed, snapshot, view, changes, freshness(snapshot, now), now)

    def fragments(self, options: ListOptions) -> dict[str, str]:
        """Render the parts of the page that change, but for the shards.

        Args:
            options: how the browser lists the shards.

        Returns:
            The HTML of each part by its name.
        """
        key = ("fragments", self.link.state, self.can_change)
        common = self.feed.shared(self.snapshot.serial, key, self._common)
        found = self.listed(options)
        own = {
            name: render_template(
                f"fragments/{name}.html", board=self.view, options=options, shards=found
            ).strip()
            for name in OF_THE_LIST
        }
        return common | own

    def _common(self) -> dict[str, str]:
        rendered = {
            name: render_template(
                f"fragments/{name}.html",
                board=self.view,
                snapshot=self.snapshot,
                link=self.link,
                can_change=self.can_change,
                now=self.now,
            ).strip()
            for name in FRAGMENTS
        }
        return rendered | {"slots": _map_html(self.view.slots)}

    def listed(self, options: ListOptions) -> ListedShards:
        """Return the shards that a browser shows."""
        return self.feed.shared(
            self.snapshot.serial,
            ("listed", options),
            lambda: listed(self.view.shards, options, self._felts),
        )

    @property
    def lines(self) -> Mapping[str, ShardLine]:
        """All shards in one line, by name."""
        return self.feed.shared(self.snapshot.serial, ("lines",), self._all_lines)

    def _all_lines(self) -> Mapping[str, ShardLine]:
        felts = self._felts
        return {each.name: shard_line(each, felts.get(each.name)) for each in self.view.shards}

    def line(self, line: ShardLine) -> str:
        """Render the row of a shard in one line."""
        return render_template("fragments/line.html", line=line).strip()

    def details(self, shard: ShardRow) -> str:
        """Render the rows of a shard with its details."""
        return self.feed.shared(
            self.snapshot.serial,
            ("details", shard.name, self.can_change),
            lambda: render_template(
                "fragments/details.html",
                board=self.view,
                shard=shard,
                can_change=self.can_change,
                spark_of=self.spark_of,
            ).strip(),
        )

    def spark_of(self, name: str) -> Spark | None:
        """Draw a shard's operations per second of the last minutes."""
        return ops_spark(name, self.snapshot.samples)

    @property
    def _felts(self) -> Mapping[str, Felt]:
        return {} if self.view.felt is None else self.view.felt.shards


@lru_cache(_MAPS)
def _map_html(drawn: SlotMap) -> str:
    return render_template("fragments/slots.html", map=drawn).strip()
