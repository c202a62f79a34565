"""Which shards the page lists, in which order, and which with details: as the page's URL asks.

    ?q=10.0.0.7 down     words, all of which stand in a shard's name, addresses or state
    &state=down          only shards in this state
    &sort=-memory        by a column, "-" for descending; without it the worst come first
    &open=cache-3        with details; "*" stands for all, "!cache-3" for all but that one
    &toggle=cache-3      the details of this one shown, or no more shown: a press on its name
    &show=cache-3        this one shown with its details, whatever was filtered: a link to it

Unknown and overlong values are left out: the URL is typed by people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from dashboard.listing import by_value, direction, has_words, natural, pressed, typed
from dashboard.view_model import Felt, ShardRow

SMALL_POOL = 6
"""Up to so many shards all show their details, unless the URL says otherwise."""

WORST_FIRST = ("down", "degraded", "failing over", "joining", "draining", "up")
_UNKNOWN_STATE = 2  # a word that this release does not know: after what is surely broken
_ALL, _BUT = "*", "!"
_MOST_OPEN = 32

Value = Callable[[ShardRow, Felt | None], Any]
"""Returns what a shard is sorted by; None where that is not known."""
Felts = Mapping[str, Felt]


@dataclass(frozen=True)
class ListOptions:
    """What an operator has asked to see of the shards.

    Attributes:
        query: words to look for.
        state: the only state to show, or "".
        sort: a column of `COLUMNS`, with "-" before it for descending; "" for the worst first.
        opened: names, "*" and "!NAME" as in the URL.
    """

    query: str = ""
    state: str = ""
    sort: str = ""
    opened: tuple[str, ...] = ()

    @classmethod
    def of(cls, query: Mapping[str, str]) -> ListOptions:
        """Read the options from a URL's query."""
        sort, state = query.get("sort", ""), query.get("state", "")
        opened = [word for word in query.get("open", "").split(",") if word]
        return cls(
            query=typed(query.get("q", "")),
            state=state if state in WORST_FIRST else "",
            sort=sort if sort.removeprefix("-") in COLUMNS else "",
            opened=tuple(dict.fromkeys(opened))[-_MOST_OPEN:],
        )

    @classmethod
    def asked(cls, query: Mapping[str, str], shards: int) -> ListOptions:
        """Read the options from a URL's query, with what a press or a link makes of them.

        Args:
            shards: how many the pool has.
        """
        options = cls.of(query)
        if query.get("toggle"):
            options = options.toggled(query["toggle"], shards)
        return options.shown(query["show"], shards) if query.get("show") else options

    @property
    def filters(self) -> bool:
        """Whether some shards may be left out, or stand in another order."""
        return bool(self.query or self.state or self.sort)

    def url(self) -> str:
        """Return the query that asks for these options, from "?" on."""
        fields = {"q": self.query, "state": self.state, "sort": self.sort}
        asked = {name: value for name, value in fields.items() if value}
        if self.opened:
            asked["open"] = ",".join(self.opened)
        return f"?{urlencode(asked, safe='*!,')}" if asked else "?"

    def only(self, state: str) -> ListOptions:
        """Return these options for another state; "" for all."""
        return replace(self, state=state)

    def sorted_by(self, column: str) -> ListOptions:
        """Return what a press on a column's head asks for: one order, the other, the worst first.

        Figures descend at first, names ascend.
        """
        return replace(self, sort=pressed(self.sort, column, ascends=column == "name"))

    def direction(self, column: str) -> str:
        """Return how a column is sorted, as the attribute aria-sort has it."""
        return direction(self.sort, column)

    def is_open(self, name: str, shards: int) -> bool:
        """Return whether a shard's details are shown.

        Args:
            shards: how many the pool has.
        """
        if _ALL in self.opened or shards <= SMALL_POOL:
            return f"{_BUT}{name}" not in self.opened
        return name in self.opened

    def toggled(self, name: str, shards: int) -> ListOptions:
        """Return these options with a shard's details shown, or no more shown."""
        opened = self.is_open(name, shards)
        rest = [word for word in self.opened if word not in (name, f"{_BUT}{name}")]
        by_default = _ALL in rest or shards <= SMALL_POOL
        if opened and by_default:
            rest.append(f"{_BUT}{name}")
        if not opened and not by_default:
            rest.append(name)
        return replace(self, opened=tuple(rest))

    def shown(self, name: str, shards: int) -> ListOptions:
        """Return options that show a shard with its details, whatever was filtered."""
        found = replace(self, query="", state="")
        return found if found.is_open(name, shards) else found.toggled(name, shards)


@dataclass(frozen=True)
class ListedShards:
    """The shards to show.

    Attributes:
        shards: in order.
        opened: the names of those with details.
        counts: how many shards the whole pool has in each state, the worst first.
        total: how many shards the whole pool has.
    """

    shards: tuple[ShardRow, ...]
    opened: frozenset[str]
    counts: tuple[tuple[str, int], ...]
    total: int


def listed(shards: Sequence[ShardRow], options: ListOptions, felts: Felts) -> ListedShards:
    """Choose and order the shards of a pool.

    Args:
        shards: in the pool's order, which decides between equals.
        felts: what apps felt, by shard.
    """
    found = [shard for shard in shards if _matches(shard, options)]
    column, descending = options.sort.removeprefix("-"), options.sort.startswith("-")
    if column:
        value = COLUMNS[column]
        found = by_value(
            found, lambda each: value(each, felts.get(each.name)), descending=descending
        )
    else:
        found.sort(key=lambda shard: rank(shard.state))
    counts = Counter(shard.state for shard in shards)
    total = len(shards)
    return ListedShards(
        shards=tuple(found),
        opened=frozenset(each.name for each in found if options.is_open(each.name, total)),
        counts=tuple(sorted(counts.items(), key=lambda item: rank(item[0]))),
        total=total,
    )


def rank(state: str) -> int:
    """Return the place of a state: the lower, the worse."""
    return WORST_FIRST.index(state) if state in WORST_FIRST else _UNKNOWN_STATE


def _matches(shard: ShardRow, options: ListOptions) -> bool:
    if options.state and shard.state != options.state:
        return False
    text = " ".join([shard.name, shard.state, *(each.address for each in shard.instances)])
    return has_words(text, options.query)


def _of_master(name: str) -> Value:
    def figure(shard: ShardRow, _: Felt | None) -> float | None:
        value = shard.figures.get(name)
        return None if value is None else float(value)

    return figure


COLUMNS: Mapping[str, Value] = {
    "name": lambda shard, felt: natural(shard.name),
    "share": lambda shard, felt: shard.share,
    "ops": _of_master("ops_per_second"),
    "hits": _of_master("hit_ratio"),
    "memory": _of_master("used_memory"),
    "keys": _of_master("keys"),
    "clients": _of_master("clients"),
    "lag": lambda shard, felt: shard.behind,
    "p99": lambda shard, felt: None if felt is None else felt.p99,
    "errors": lambda shard, felt: None if felt is None else felt.errors,
}
"""Column -> what it sorts by."""
