"""The clients of a pool as its page lists them: those that lag come first, furthest behind first.

    ?q=shop web-3        words, all of which stand in what is told of a client, or in its state
    &state=lags          only clients in this state
    &sort=-p99           by a column, "-" for descending; without it those that lag come first
    &page=2              of fifty clients each

Unknown and overlong values are left out: the URL is typed by people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from dashboard.client_waits import (
    ClientWait,
    unnamed_clients,
    waits_by_client,
    waits_for_clients,
)
from dashboard.felt import felt_of
from dashboard.format import parse_time
from dashboard.listing import (
    ListPage,
    by_value,
    direction,
    has_words,
    natural,
    page_of,
    pressed,
    typed,
    whole_number,
)
from dashboard.upstream import Json
from dashboard.view_model import Felt

STATES = LAGS, OVER, CURRENT = ("lags", "lease over", "current")
"""A live client that acts on an earlier version; one whose lease is over, too; any other."""

PAGE_SIZE = 50


@dataclass(frozen=True)
class ClientRow:
    """A client of a pool.

    Attributes:
        client, app, host, address, sdk, metaserver: as it is told; "" where nothing is.
        process: its id on the host; None if it is not known.
        version: of the document that the client acts on; 0 for none yet.
        behind: by how many versions that is older than the pool's.
        state: one of `STATES`.
        fenced: whether the client is kept from the shards until it acknowledges.
        waited_for: the work that waits for the client, in words.
        seen: when a metaserver heard of it last.
        settings: the pool's that its own options override, as "name=value".
        felt: what the client felt in the last minute; None if that is not told.
    """

    client: str
    app: str
    host: str
    process: int | None
    address: str
    sdk: str
    metaserver: str
    version: int
    behind: int
    state: str
    fenced: bool
    waited_for: tuple[str, ...]
    seen: datetime | None
    settings: tuple[str, ...]
    felt: Felt | None


@dataclass(frozen=True)
class PoolClients:
    """The clients of a pool.

    Attributes:
        version: of the pool's document.
        rows: those of which anything is told; the ones that lag come first.
        waits: the work that waits for clients.
        fenced: ids of clients that are fenced.
        unnamed: how many more are live, of which nothing but the version is known.
        unnamed_over: how many more lag whose lease is over.
        reporting: how many clients have told lately what they felt.
        told: of how many of them it is known, client by client.
        silent: the metaservers whose clients' reports are missing.
    """

    version: int
    rows: tuple[ClientRow, ...]
    waits: tuple[ClientWait, ...]
    fenced: tuple[str, ...]
    unnamed: int
    unnamed_over: int
    reporting: int
    told: int
    silent: tuple[str, ...]

    def count(self, state: str) -> int:
        """Return how many clients are in a state."""
        return sum(row.state == state for row in self.rows)


def pool_clients(
    status: Json, convergence: Json, clients: Sequence[Json], quality: Json
) -> PoolClients:
    """Return the clients of a pool.

    Args:
        status, convergence, quality: of the pool.
        clients: the live ones, asked for after the convergence: who has acknowledged in between
            does not lag.
    """
    waits = waits_for_clients(status, convergence, clients)
    live = {each["client"] for each in clients}
    over = [each for each in convergence["laggards"] if each["lease"] == "over"]
    fenced = tuple(str(each) for each in status.get("fenced") or ())
    felts = {str(each["client"]): felt_of(each) for each in quality["clients"]}
    version = int(convergence["version"])
    make = _RowMaker(version, waits_by_client(waits), frozenset(fenced), felts)
    rows = [make.row(each) for each in clients]
    rows += [make.row(each) for each in over if each["client"] not in live]
    return PoolClients(
        version=make.version,
        rows=tuple(sorted(rows, key=_place)),
        waits=waits,
        fenced=fenced,
        unnamed=unnamed_clients(convergence, clients),
        unnamed_over=max(0, int(convergence["lease_over"]) - len(over)),
        reporting=int(quality["reporting"]),
        told=len(felts),
        silent=tuple(quality["silent"]),
    )


@dataclass(frozen=True)
class _RowMaker:
    """What the rows of all clients are made with."""

    version: int
    waits: Mapping[str, Sequence[str]]
    fenced: frozenset[str]
    felts: Mapping[str, Felt]

    def row(self, told: Json) -> ClientRow:
        client, version = str(told["client"]), int(told["version"])
        behind = max(0, self.version - version)
        return ClientRow(
            client=client,
            app=_text(told, "app"),
            host=_text(told, "host"),
            process=told.get("process"),
            address=_text(told, "address"),
            sdk=_text(told, "sdk"),
            metaserver=_text(told, "metaserver"),
            version=version,
            behind=behind,
            state=OVER if told["lease"] == "over" else LAGS if behind else CURRENT,
            fenced=client in self.fenced,
            waited_for=tuple(self.waits.get(client, ())),
            seen=parse_time(_text(told, "seen")),
            settings=tuple(f"{n}={value}" for n, value in (told.get("settings") or {}).items()),
            felt=self.felts.get(client),
        )


def _text(told: Json, name: str) -> str:
    return str(told.get(name) or "")


def _place(row: ClientRow) -> tuple[Any, ...]:
    """Return the place of a client where nobody has asked for another order."""
    lag = row.version if row.behind else 0
    return STATES.index(row.state), lag, natural(row.app), natural(row.host), row.client


@dataclass(frozen=True)
class ClientOptions:
    """What an operator has asked to see of the clients.

    Attributes:
        query: words to look for.
        state: the only state to show, or "".
        sort: a column of `COLUMNS`, with "-" before it for descending; "": who lags comes first.
        page: from 1 on.
    """

    query: str = ""
    state: str = ""
    sort: str = ""
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> ClientOptions:
        """Read the options from a URL's query."""
        sort, state = query.get("sort", ""), query.get("state", "")
        return cls(
            query=typed(query.get("q", "")),
            state=state if state in STATES else "",
            sort=sort if sort.removeprefix("-") in COLUMNS else "",
            page=whole_number(query.get("page", "")) or 1,
        )

    def url(self) -> str:
        """Return the query that asks for these options, from "?" on."""
        page = str(self.page) if self.page > 1 else ""
        fields = {"q": self.query, "state": self.state, "sort": self.sort, "page": page}
        return "?" + urlencode({name: value for name, value in fields.items() if value})

    def only(self, state: str) -> ClientOptions:
        """Return these options for another state; "" for all."""
        return replace(self, state=state, page=1)

    def at(self, page: int) -> ClientOptions:
        """Return these options for another page."""
        return replace(self, page=page)

    def sorted_by(self, column: str) -> ClientOptions:
        """Return what a press on a column's head asks for; "" for the order of the page."""
        if not column:
            return replace(self, sort="", page=1)
        return replace(self, sort=pressed(self.sort, column, ascends=column in _ASCEND), page=1)

    def direction(self, column: str) -> str:
        """Return how a column is sorted, as the attribute aria-sort has it."""
        return direction(self.sort, column)


@dataclass(frozen=True)
class ListedClients:
    """The clients to show.

    Attributes:
        page: of those that were asked for.
        counts: how many of all are in each state that there is.
        total: how many there are.
    """

    page: ListPage[ClientRow]
    counts: tuple[tuple[str, int], ...]
    total: int


def listed_clients(rows: Sequence[ClientRow], options: ClientOptions) -> ListedClients:
    """Choose and order clients.

    Args:
        rows: in the order that decides between equals.
    """
    found = [row for row in rows if options.state in ("", row.state) and _matches(row, options)]
    column = options.sort.removeprefix("-")
    if column:
        found = by_value(found, COLUMNS[column], descending=options.sort.startswith("-"))
    counts = Counter(row.state for row in rows)
    return ListedClients(
        page=page_of(found, options.page, PAGE_SIZE),
        counts=tuple((state, counts[state]) for state in STATES if counts[state]),
        total=len(rows),
    )


def _matches(row: ClientRow, options: ClientOptions) -> bool:
    told = (row.client, row.app, row.host, row.address, row.sdk, row.metaserver, row.state)
    more = (f"v{row.version}", "fenced" if row.fenced else "", str(row.process or ""))
    return has_words(" ".join([*told, *more, *row.settings]), options.query)


def _named(name: str) -> Callable[[ClientRow], Any]:
    def value(row: ClientRow) -> list[tuple[int, int, str]] | None:
        return natural(getattr(row, name)) or None

    return value


def _felt(name: str) -> Callable[[ClientRow], Any]:
    return lambda row: None if row.felt is None else getattr(row.felt, name)


COLUMNS: Mapping[str, Callable[[ClientRow], Any]] = {
    "app": _named("app"),
    "host": _named("host"),
    "sdk": _named("sdk"),
    "version": lambda row: row.version,
    "seen": lambda row: row.seen,
    "calls": _felt("calls"),
    "p50": _felt("p50"),
    "p99": _felt("p99"),
    "errors": _felt("errors"),
}
"""Column -> what it sorts by; None where that is not known."""

_ASCEND = ("app", "host", "sdk", "version")
