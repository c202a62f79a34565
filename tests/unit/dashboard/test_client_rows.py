"""Which clients of a pool lag, which work waits for them, and which are listed in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from dashboard.client_rows import (
    PAGE_SIZE,
    ClientOptions,
    ListedClients,
    PoolClients,
    listed_clients,
    pool_clients,
)
from dashboard.client_waits import ClientWait, named_in, waits_by_client

NOBODY: dict[str, Any] = {"reporting": 0, "clients": [], "silent": []}


def client(name: str, version: int = 18, **told: Any) -> dict[str, Any]:
    """Return a client as the metaserver tells of it."""
    return {
        "client": name,
        "version": version,
        "lease": "running",
        "seen": "2026-01-02T03:04:05.678Z",
        "address": "10.0.0.7",
        "sdk": "cachemesh 0.1.0",
        "host": "web-1",
        "process": 4711,
        "app": "shop",
        "metaserver": "10.0.0.2:7700",
        "settings": {},
        "stats": None,
    } | told


def felt(name: str, p99: float, errors: int = 0) -> dict[str, Any]:
    """Return what a client felt, as the metaserver tells of it."""
    return {
        "client": name,
        "calls": 600,
        "calls_per_second": 10.0,
        "errors": {"timeout": errors} if errors else {},
        "errors_per_second": errors / 60,
        "p50": p99 / 10,
        "p99": p99,
        "max": p99,
    }


def convergence(live: Sequence[dict[str, Any]], *over: dict[str, Any]) -> dict[str, Any]:
    """Return the convergence of a pool at version 18 with these clients."""
    versions = Counter(each["version"] for each in live)
    late = [each for each in live if each["version"] < 18]
    return {
        "version": 18,
        "clients": len(live),
        "versions": [{"version": v, "clients": n} for v, n in versions.items()],
        "lagging": len(late),
        "lease_over": len(over),
        "laggards": [*late, *over],
    }


def test_what_waits_is_looked_up_and_not_searched_for_each_of_very_many_clients() -> None:
    both, one = ClientWait("The migration", 7, ("a", "b")), ClientWait("The sweep of s", 6, ("b",))
    assert dict(waits_by_client([both, one])) == {
        "a": ["The migration"],
        "b": ["The migration", "The sweep of s"],
    }


def found(
    live: Sequence[dict[str, Any]],
    *over: dict[str, Any],
    quality: dict[str, Any] = NOBODY,
    told: dict[str, Any] | None = None,
    **status: Any,
) -> PoolClients:
    """Return the clients of a pool as its page shows them."""
    return pool_clients(status, {**convergence(live, *over), **(told or {})}, live, quality)


def show(clients: PoolClients, **query: str) -> ListedClients:
    return listed_clients(clients.rows, ClientOptions.of(query))


def names(listed: ListedClients) -> list[str]:
    return [row.client for row in listed.page.rows]


def gone(name: str, version: int) -> dict[str, Any]:
    """Return a client whose lease is over."""
    return client(name, version, lease="over")


LIVE = [
    client("b"),
    client("late", 17),
    client("a10", app="a10"),
    client("a9", app="a9"),
    client("new", 0),
    client("later", 16),
]


def test_those_that_lag_come_first_and_the_furthest_behind_before_them() -> None:
    shown = found(LIVE, gone("gone", 12))
    assert names(show(shown)) == ["new", "later", "late", "gone", "a9", "a10", "b"]
    states = [(row.state, row.behind) for row in shown.rows[:5]]
    assert states == [("lags", 18), ("lags", 2), ("lags", 1), ("lease over", 6), ("current", 0)]
    assert show(shown).counts == (("lags", 3), ("lease over", 1), ("current", 3))


def test_a_client_that_has_come_back_is_listed_once() -> None:
    shown = found([client("back")], gone("back", 12))
    assert [(row.client, row.state) for row in shown.rows] == [("back", "current")]


def test_a_version_ahead_of_the_pool_does_not_lag() -> None:
    (row,) = found([client("a", 20)]).rows
    assert (row.state, row.behind) == ("current", 0)


def test_a_sweep_waits_for_those_before_its_own_version() -> None:
    sweep = {"shard": "cache-3", "state": "waiting", "version": 17}
    shown = found(LIVE, gone("gone", 12), sweeps=[sweep, {**sweep, "state": "running"}])
    (wait,) = shown.waits
    assert (wait.what, wait.version) == ("The sweep of cache-3", 17)
    assert wait.clients == ("new", "later"), "not who acts on 17, and nobody whose lease is over"
    waited_for = {row.client: row.waited_for for row in shown.rows if row.waited_for}
    assert waited_for == {"new": ("The sweep of cache-3",), "later": ("The sweep of cache-3",)}


def test_a_sweep_without_a_version_is_of_an_earlier_release() -> None:
    (wait,) = found(LIVE, sweeps=[{"shard": "cache-3", "state": "waiting"}]).waits
    assert wait.clients == ("new", "later", "late")


def test_a_sweep_that_waits_for_nobody_is_about_to_begin() -> None:
    assert (
        found([client("a")], sweeps=[{"shard": "s", "state": "waiting", "version": 18}]).waits == ()
    )


RESIZE = {"state": "preparing", "summary": "add shard cache-3", "detail": ""}


def test_a_migration_in_preparation_waits_for_who_has_not_acknowledged() -> None:
    (wait,) = found(LIVE, resize={**RESIZE, "detail": "waits for 3 clients: new"}).waits
    assert (wait.what, wait.version, wait.why) == ("The migration", 18, "add shard cache-3")
    assert wait.clients == ("new", "later", "late")
    assert found(LIVE, resize={**RESIZE, "state": "moving"}).waits == ()
    assert found([client("a")], resize=RESIZE).waits == ()


def test_a_migration_that_has_stepped_back_names_for_whose_sake() -> None:
    told = "waits for 5 clients: a9, x, gone and 2 more"
    (wait,) = found(
        LIVE, gone("gone", 12), resize={**RESIZE, "state": "paused", "detail": told}
    ).waits
    assert wait.clients == ("a9", "gone"), "x is no client that anybody knows"
    assert wait.why == f"add shard cache-3; {told}"
    other = {**RESIZE, "state": "paused", "detail": "shard cache-3 does not answer: late reply"}
    assert found([client("cache"), client("repl")], resize=other).waits == ()


def test_ids_are_whole_words() -> None:
    assert named_in("waits for client ab", {"a", "ab", "b"}) == ("ab",)
    assert named_in("2 clients: a:b (c), d", {"d", "c"}) == ("c", "d")


def test_fenced_clients_are_marked() -> None:
    shown = found(LIVE, gone("gone", 12), fenced=["gone", "unheard-of"])
    assert [row.client for row in shown.rows if row.fenced] == ["gone"]
    assert shown.fenced == ("gone", "unheard-of")


def test_of_some_clients_only_the_number_is_known() -> None:
    told = {"clients": 5_100, "versions": [{"version": 17, "clients": 5_002}], "lease_over": 3}
    many = [client(f"c{number}", 17 if number else 18) for number in range(5_000)]
    sweep = {"shard": "s", "state": "waiting", "version": 18}
    shown = found(many, gone("gone", 12), told=told, sweeps=[sweep])
    assert (shown.unnamed, shown.unnamed_over) == (100, 2)
    assert (len(shown.waits[0].clients), shown.waits[0].unnamed) == (4_999, 3)
    few = found(LIVE, told={"clients": 9})
    assert few.unnamed == 0, "three left between two questions"


QUALITY = {
    "reporting": 3,
    "clients": [felt("b", 0.9, errors=60), felt("late", 0.001)],
    "silent": ["10.0.0.3:7700"],
}


def test_what_each_felt_is_told_where_it_is_known() -> None:
    shown = found(LIVE, quality=QUALITY)
    assert (shown.reporting, shown.told, shown.silent) == (3, 2, ("10.0.0.3:7700",))
    (row,) = [each for each in shown.rows if each.client == "b"]
    assert row.felt is not None
    assert (row.felt.calls, row.felt.p99, row.felt.classes) == (10.0, 0.9, (("timeout", 1.0),))


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("-p99", ["b", "late"]),
        ("p99", ["late", "b"]),
        ("-errors", ["b", "late"]),
        ("version", ["new", "later", "late"]),
        ("-app", ["new", "later", "late", "b", "a10", "a9"]),
        ("app", ["a9", "a10", "new", "later", "late", "b"]),
        ("colour", ["new", "later", "late"]),
    ],
)
def test_columns_sort_both_ways_and_what_is_not_known_comes_last(
    sort: str, first: list[str]
) -> None:
    assert names(show(found(LIVE, quality=QUALITY), sort=sort))[: len(first)] == first


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("SHOP v16", ["later"]),
        ("lags 10.0.0.7", ["new", "later", "late"]),
        ("a10", ["a10"]),
        ("command_timeout", ["tuned"]),
        ("web-2 4712", ["tuned"]),
        ("nothing", []),
    ],
)
def test_words_are_looked_for_in_all_that_is_told(words: str, expected: list[str]) -> None:
    tuned = client("tuned", host="web-2", process=4712, settings={"command_timeout": "0.5"})
    assert names(show(found([*LIVE, tuned]), q=words)) == expected


def test_a_client_that_tells_nothing_of_itself_is_listed_too() -> None:
    nameless = dict.fromkeys(("seen", "address", "sdk", "host", "process", "app", "settings"))
    (row,) = show(found([client("a") | nameless]), q="a").page.rows
    assert (row.app, row.host, row.process, row.seen, row.settings) == ("", "", None, None, ())


def test_500_clients_come_by_the_page() -> None:
    shown = found([client(f"c{number}", 17 if number == 499 else 18) for number in range(500)])
    first = show(shown)
    assert len(first.page.rows) == PAGE_SIZE
    assert (first.page.pages, first.page.found, first.total) == (10, 500, 500)
    assert names(first)[0] == "c499"
    assert show(shown, page="10").page.last == 500
    assert show(shown, page="11").page.number == 10
    assert show(shown, state="lags", page="3").page.found == 1


def test_a_url_brings_the_options_back() -> None:
    options = ClientOptions("a b&c", "lease over", "-p99", 3)
    assert options.url() == "?q=a+b%26c&state=lease+over&sort=-p99&page=3"
    read = {"q": "a b&c", "state": "lease over", "sort": "-p99", "page": "3"}
    assert ClientOptions.of(read) == options
    assert ClientOptions.of({"state": "blue", "sort": "x", "page": "-1"}).url() == "?"
    assert options.only("lags").url() == "?q=a+b%26c&state=lags&sort=-p99", "from page 1 on"
    assert [options.sorted_by(each).sort for each in ("p99", "app", "")] == ["p99", "app", ""]
    assert options.direction("p99") == "descending"
