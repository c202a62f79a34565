"""The pool's page as an operator sees it."""

from __future__ import annotations

import http.client
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import redis

from cachemesh.core.names import parse_address
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from tests.support.browser_page import Page
from tests.support.waiting import AT_MOST

pytestmark = pytest.mark.browser


def test_a_wrong_token_is_refused(page: Page) -> None:
    page.sign_in("wrong-token")
    assert "Wrong token" in page.text("[role=alert]")
    assert "cachemesh token create" in page.text("[role=alert]")
    page.open("/pools/cache")
    assert page.driver.current_url.endswith("/login")


def test_first_glance(board: Page, stack: LocalStack) -> None:
    for shard in stack.info["shards"]:
        shown = board.text(f"#shard-{shard['name']}")
        assert "3 of 3 Sentinels, quorum 2" in shown
        for address, role in [(shard["master"], "master"), (shard["replicas"][0], "replica")]:
            row = board.text(f"[id='i-{shard['name']}-{address}']")
            assert address in row
            assert role in row
            assert "up" in row.split()
    assert "ok" in board.text("nav[aria-label=Pools]")
    assert "cache-0 33.3%" in board.text("#live-slots").replace("\n", " ")
    assert "created pool cache" in board.text("#live-events")
    width, height = board.page_size()
    assert (width, height) == (1440, 900), "the first glance needs no scrolling"
    assert board.complaints() == []


def test_the_session_cookie_is_out_of_reach(board: Page, stack: LocalStack) -> None:
    (cookie,) = board.driver.get_cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert stack.token not in str(cookie)
    assert stack.token not in board.driver.page_source


def test_forms_of_two_tabs_sign_in(page: Page, stack: LocalStack) -> None:
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    page.sign_in(stack.token)
    page.see("live", "#link")
    page.driver.close()
    page.driver.switch_to.window(first)
    page.fill("token", stack.token)
    page.press("Sign in")
    page.see("live", "#link")


def test_a_phone_needs_no_sideways_scrolling(board: Page) -> None:
    board.resize(390, 844)
    for path in ("/pools/cache", "/pools/cache/shards/new", "/pools/cache/shards/cache-0/remove"):
        board.open(path)
        board.fits(390)


def test_key_counts_change_without_a_reload(board: Page, stack: LocalStack) -> None:
    board.driver.execute_script("window.notReloaded = true")
    address = parse_address(stack.info["shards"][0]["master"])
    row = f"[id='i-cache-0-{address}'] .keys"
    before = int(board.text(row).replace(",", ""))
    with redis.Redis(address.host, address.port) as master:
        master.mset({f"live:{number}": "x" for number in range(1234)})
    board.see(f"{before + 1234:,}", row)
    assert board.driver.execute_script("return window.notReloaded")
    assert board.complaints() == []


def test_the_history_of_the_pool_and_of_a_shard(board: Page) -> None:
    board.driver.find_element("link text", "History").click()
    board.press("5 minutes")
    board.reload_until(lambda: "Operations per second, the last 5 minutes: now" in charts(board)[0])
    assert [each.partition(",")[0] for each in charts(board)] == [
        *("Operations per second", "Hit ratio", "Memory", "Keys", "Evictions per second"),
        *("Clients", "Furthest replica behind", "Latency", "Errors"),
    ]
    assert "created pool cache" in board.text(".happened")
    assert board.driver.find_elements("css selector", "svg.chart g.event-mark")
    board.press("hour")
    assert board.driver.current_url.endswith("/pools/cache/history?range=1h")
    board.open("/pools/cache")
    board.see("live", "#link")
    board.driver.find_element("css selector", "#shard-cache-1 a.sparks").click()
    board.see("Shard cache-1: the last hour", "h1")
    assert "Connections, the last hour: now" in "\n".join(charts(board))
    board.press("Show")
    board.see("Shard cache-1: the last hour", "h1")
    board.open("/pools/cache/history?shard=nothing")
    assert "nothing" in board.text("[role=alert]")
    assert all("404" in each for each in board.complaints())


def charts(page: Page) -> list[str]:
    """Return what screen readers are told of each chart."""
    script = """return [...document.querySelectorAll("svg.chart")]
        .map((each) => each.getAttribute("aria-label"))"""
    return list(page.driver.execute_script(script))


def test_markup_in_what_was_typed_stays_text(board: Page) -> None:
    attack = "<img src=x onerror=document.title='owned'>"
    board.open("/pools/cache/shards/new")
    board.fill("name", attack)
    board.fill("master", attack)
    board.press("Preview")
    board.see("<img src=x", "[role=alert]")
    assert board.driver.title.startswith("Add a shard")
    assert not board.driver.find_elements("css selector", "main img")


def test_markup_in_an_event_stays_text(
    page: Page, stack: LocalStack, metaserver: MetaserverClient
) -> None:
    """The event is put into the store directly: the metaserver refuses such names."""
    attack = "<img src=x onerror=document.title='owned'>"
    row = ("2026-01-01T00:00:00Z", f"token:{attack}", attack, "cache", attack, attack)
    with closing(sqlite3.connect(stack.directory / "meta.db")) as store, store:
        store.execute(
            "INSERT INTO events (at, actor, action, pool, target, detail) VALUES (?,?,?,?,?,?)", row
        )
    made = metaserver.request("POST", "/v1/tokens", {"name": "witness", "role": "read"})
    page.sign_in(made["token"])
    page.see(attack, "#live-events")
    page.see("live", "#link")
    assert not page.driver.find_elements("css selector", "main img")
    assert page.driver.title.endswith("cache · CacheMesh")
    assert page.complaints() == []
    metaserver.request("DELETE", f"/v1/tokens/{made['id']}")


def test_a_read_token_sees_all_but_the_buttons(page: Page, metaserver: MetaserverClient) -> None:
    made = metaserver.request("POST", "/v1/tokens", {"name": "viewer", "role": "read"})
    page.sign_in(made["token"])
    page.see("live", "#link")
    assert "cache-2" in page.text("#live-shards")
    for words in ("Add a shard", "Weight", "Remove"):
        assert words not in page.text()
    page.open("/pools/cache/shards/new")
    assert "read token" in page.text("[role=alert]")
    metaserver.request("DELETE", f"/v1/tokens/{made['id']}")
    page.open("/")
    assert "no longer accepts the token" in page.text()


def connections_to(port: int) -> int:
    """Count the established TCP connections to a port of 127.0.0.1 (proc_pid_net(5): state 01)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


def test_many_browsers_share_one_upstream_stream(board: Page, stack: LocalStack) -> None:
    (cookie,) = board.driver.get_cookies()
    address = parse_address(stack.info["dashboard"].removeprefix("http://"))
    metaserver = parse_address(stack.info["metaservers"][0])
    before = connections_to(metaserver.port)
    assert before > 0
    watchers = []
    for _ in range(8):
        watcher = http.client.HTTPConnection(address.host, address.port, timeout=AT_MOST)
        headers = {"Cookie": f"{cookie['name']}={cookie['value']}"}
        watcher.request("GET", "/pools/cache/live", headers=headers)
        reply = watcher.getresponse()
        while reply.readline() != b"event: fragments\n":
            pass
        watchers.append(watcher)
    board.until(lambda: connections_to(metaserver.port) <= before)
    for watcher in watchers:
        watcher.close()


def test_sign_out(board: Page) -> None:
    """This holds too if the page hears of the end of its session before the next page is there."""
    with board.slow_replies(2_000):
        board.driver.find_element("css selector", "header form button").click()
        board.see("You are signed out")
    board.open("/pools/cache")
    assert board.driver.current_url.endswith("/login")
