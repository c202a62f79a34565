"""Changes of the pool from the browser: preview, confirmation, refusals."""

from __future__ import annotations

from typing import Any

import pytest
from selenium import webdriver

from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from tests.support.accessible_page import findings
from tests.support.browser_page import Page

pytestmark = pytest.mark.browser


def shard_names(metaserver: MetaserverClient) -> list[str]:
    document = metaserver.request("GET", "/v1/pools/cache")
    return [shard["name"] for shard in document["placement"]["shards"]]


def await_sweeps(page: Page, metaserver: MetaserverClient) -> None:
    """Wait until no shard is being swept: a shard takes no slots during its sweep."""
    page.until(lambda: not metaserver.request("GET", "/v1/pools/cache/status")["sweeps"])


def fill_new_shard(page: Page, name: str, address: str, weight: str = "1") -> None:
    page.open("/pools/cache/shards/new")
    page.fill("name", name)
    page.fill("master", address)
    page.fill("weight", weight)
    page.press("Preview")


def test_add_a_shard(board: Page, stack: LocalStack, metaserver: MetaserverClient) -> None:
    spare = stack.info["spares"][0]
    board.press("Add a shard")
    fill_new_shard(board, "cache-3", spare["master"])
    preview = board.text("#preview")
    assert "Nothing has changed yet" in preview
    assert "4,096" in preview
    assert "25.0%" in preview
    for told in ("Keys that move", "It takes", "What moves. ", "maxmemory", "What apps feel"):
        assert told in preview
    assert shard_names(metaserver) == ["cache-0", "cache-1", "cache-2"]
    board.press("Add cache-3")
    board.see(": add shard cache-3", ".notice")  # done, or under way on a slow machine
    board.see(spare["master"], "#shard-cache-3")
    board.see("cache-3 25.0%", "#live-slots")
    board.see("added shard cache-3", "#live-events")
    assert shard_names(metaserver) == ["cache-0", "cache-1", "cache-2", "cache-3"]
    await_sweeps(board, metaserver)


@pytest.mark.parametrize(
    ("name", "address", "weight", "words"),
    [
        ("cache-9", "127.0.0.1:1", "1", "127.0.0.1:1"),
        ("cache 9", "127.0.0.1:1", "1", "cache 9"),
        ("cache-9", "nowhere", "1", "nowhere"),
        ("cache-9", "127.0.0.1:1", "0", "weight"),
        ("cache-9", "127.0.0.1:1", "heavy", "not a whole number"),
    ],
)
def test_a_refused_shard_says_why_and_keeps_the_inputs(
    board: Page, metaserver: MetaserverClient, name: str, address: str, weight: str, words: str
) -> None:
    before = shard_names(metaserver)
    fill_new_shard(board, name, address, weight)
    alert = board.text("[role=alert]")
    assert words in alert
    assert "Next:" in alert
    shown = {field: value_of(board, field) for field in ("name", "master", "weight")}
    assert shown == {"name": name, "master": address, "weight": weight}
    assert shard_names(metaserver) == before


def value_of(page: Page, field: str) -> Any:
    return page.driver.find_element("id", field).get_property("value")


def test_a_pool_changed_since_the_preview(board: Page, metaserver: MetaserverClient) -> None:
    board.open("/pools/cache/shards/cache-0/weight")
    assert value_of(board, "weight") == "1"
    board.fill("weight", "2")
    board.press("Preview")
    version = metaserver.request("GET", "/v1/pools/cache")["version"]
    assert f"v{version} → v{version + 1}" in board.text("#preview")
    settings = {"settings": {"command_timeout": 0.75}}
    metaserver.request("PATCH", "/v1/pools/cache/settings", settings)
    board.press("Set weight to 2")
    assert "The pool has changed since the preview" in board.text("[role=alert]")
    assert f"v{version + 1} → v{version + 2}" in board.text("#preview")
    board.press("Set weight to 2")
    board.see(": set", ".notice")
    board.see("weight 2", "#shard-cache-0")
    board.see("set the weight of cache-0", "#live-events")
    await_sweeps(board, metaserver)


def test_a_button_that_is_pressed_twice_makes_one_token_and_shows_its_text_this_once(
    board: Page, metaserver: MetaserverClient
) -> None:
    board.open("/tokens")
    board.press("Make a token")
    board.fill("name", "app")
    board.press("Preview")
    twice = """const make = [...document.querySelectorAll("button")]
        .find((each) => each.textContent === "Make app");
        make.click(); setTimeout(() => make.click(), 200)"""
    with board.slow_replies(1000):  # the second time, the first request is under way
        board.driver.execute_script(twice)
        board.see("Keep it now.")
    token = board.text("#token-text")
    addresses = [f"http://{address}" for address in metaserver.addresses]
    assert MetaserverClient(addresses, token=token).request("GET", "/v1/pools")["pools"]
    board.driver.execute_script("dispatchEvent(new Event('pagehide'))")
    assert token not in board.driver.page_source, "a way back of the browser has no text"
    board.press("I have kept it")
    assert "app read all never" in " ".join(board.text("main").split())
    assert board.complaints() == []


def test_fail_over_a_shard(board: Page, stack: LocalStack) -> None:
    before = stack.master_of("cache-1")
    board.open("/pools/cache/shards/cache-1/failover")
    preview = board.text("#preview")
    assert f"Fail over shard cache-1 from {before}" in preview
    assert "Nothing has changed yet" in preview
    assert stack.master_of("cache-1") == before
    board.press("Fail over cache-1")
    board.see("Done: fail over shard cache-1")
    board.see("failed over cache-1", "#live-events")
    assert stack.master_of("cache-1") != before
    board.until(
        lambda: "master" in board.text(f"#shard-cache-1 [id$='{stack.master_of('cache-1')}']")
    )


def test_a_failover_that_is_refused_says_why(board: Page) -> None:
    board.open("/pools/cache/shards/cache-9/failover")
    alert = board.text("[role=alert]")
    assert "cache-9" in alert
    assert "Next:" in alert


def test_a_pool_is_paused_with_a_reason_and_resumed(
    board: Page, metaserver: MetaserverClient
) -> None:
    board.press("Pause the pool")
    assert "refuse changes of its shards" in board.text("#preview")
    assert metaserver.request("GET", "/v1/pools/cache/status")["pause"] is None
    assert findings(board) == {}
    board.fill("reason", "new disks in rack 3")
    board.press("Pause it")
    assert "Paused" in board.text(".notice")
    board.see("Paused by admin", "#alert-paused")
    assert "New disks in rack 3." in board.text("#alert-paused")
    assert "Pause the pool" not in board.text("#live-felt")
    assert findings(board) == {}
    fill_new_shard(board, "cache-9", "127.0.0.1:1")
    assert "is paused by token:admin" in board.text("[role=alert]")
    board.open("/pools/cache/pause")
    assert "cachemesh pool resume cache" in board.text("[role=alert]")
    board.press("Back to the pool")
    board.press("Resume the pool")
    assert "Resumed" in board.text(".notice")
    board.until(lambda: not board.driver.find_elements("id", "alert-paused"))
    board.see("admin resumed cache", "#live-events")
    assert metaserver.request("GET", "/v1/pools/cache/status")["pause"] is None


def test_remove_a_shard(board: Page, metaserver: MetaserverClient) -> None:
    last = shard_names(metaserver)[-1]
    board.open(f"/pools/cache/shards/{last}/remove")
    assert "Nothing has changed yet" in board.text("#preview")
    board.fill("typed", "something else")
    board.press(f"Remove {last}")
    assert "Nothing was removed" in board.text("[role=alert]")
    assert last in shard_names(metaserver)
    board.fill("typed", last)
    board.press(f"Remove {last}")
    board.see(f": remove shard {last}", ".notice")
    board.see(f"removed shard {last}", "#live-events")
    board.until(lambda: not board.driver.find_elements("id", f"shard-{last}"))
    assert last not in shard_names(metaserver)
    await_sweeps(board, metaserver)


def test_it_all_works_without_javascript(
    plain_chromium: webdriver.Chrome, stack: LocalStack, metaserver: MetaserverClient
) -> None:
    page = Page(plain_chromium, stack.info["dashboard"])
    page.sign_in(stack.token)
    assert "cache-0" in page.text("#live-shards")
    page.press("Add a shard")
    pair = stack.start_pair("plain", replicas=0)
    fill_new_shard(page, "plain", pair["master"])
    page.press("Add plain")
    assert ": add shard plain" in page.text(".notice")
    await_sweeps(page, metaserver)
    page.open("/pools/cache/shards/plain/remove")
    page.fill("typed", "plain")
    page.press("Remove plain")
    assert ": remove shard plain" in page.text(".notice")
    assert "plain" not in shard_names(metaserver)
    await_sweeps(page, metaserver)
