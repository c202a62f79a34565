"""The page of a pool of many shards: what is wrong comes first, and the rest is found quickly.

CACHEMESH_BROWSER_SHARDS names another number of shards, as 200.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from cachemesh.core.names import parse_address
from cachemesh.local import LocalStack
from tests.support.accessible_page import NARROW, findings
from tests.support.browser_page import HEIGHT, WIDTH, Page

pytestmark = pytest.mark.browser

SHARDS = int(os.environ.get("CACHEMESH_BROWSER_SHARDS", "40"))
NEVER = 600_000  # milliseconds


@pytest.fixture(scope="module")
def stack(chromium: webdriver.Chrome) -> Iterator[LocalStack]:
    """A stack of many shards of one server each."""
    with LocalStack(shards=SHARDS, replicas=0, sentinels=1, down_after_ms=NEVER) as running:
        yield running


@contextmanager
def killed(stack: LocalStack, *numbers: int) -> Iterator[None]:
    """Kill the masters of shards; start them again afterwards."""
    masters = [stack.process(stack.info["shards"][number]["master"]) for number in numbers]
    for master in masters:
        master.kill(signal.SIGKILL)
    try:
        yield
    finally:
        for master in masters:
            master.restart()


def listed(page: Page) -> list[str]:
    """Return the names of the shards, in the order of the page."""
    script = """return [...document.querySelectorAll("#shards > tbody")]
        .map((row) => row.id.slice("shard-".length))"""
    return list(page.driver.execute_script(script))


def find(page: Page, selector: str) -> WebElement:
    return page.driver.find_element("css selector", selector)


def await_order(page: Page, *first: str) -> None:
    page.until(lambda: listed(page)[: len(first)] == list(first))


def mark(page: Page) -> None:
    page.driver.execute_script("window.notReloaded = true")


def not_reloaded(page: Page) -> Any:
    return page.driver.execute_script("return window.notReloaded")


def leave(page: Page) -> None:
    """Move the pointer out of the window."""
    script = """document.documentElement.dispatchEvent(
        new PointerEvent("pointerleave", {pointerType: "mouse"}))"""
    page.driver.execute_script(script)


def test_what_is_down_is_on_the_first_screen_with_its_alert(board: Page, stack: LocalStack) -> None:
    last = SHARDS - 1
    board.see(f"No alerts: {SHARDS} shards up", "#live-alerts")
    script = """window.replaced = new Set();
        new MutationObserver((all) => {
            for (const each of all) for (const row of each.addedNodes) window.replaced.add(row.id);
        }).observe(document.getElementById("shards"), {childList: true})"""
    board.driver.execute_script(script)
    with killed(stack, 7, last):
        await_order(board, "cache-7", f"cache-{last}")
        for name in ("cache-7", f"cache-{last}"):
            board.see(f"{name} is down: {100 / SHARDS:.1f}% of the keys", "#live-alerts")
            assert board.in_sight(f"#shard-{name}")
            assert board.in_sight(f"#alert-shard-{name}")
        assert "no failover can happen, as it has no replica" in board.text("#live-alerts")
        assert board.text(".states").split()[:4] == ["all", str(SHARDS), "down", "2"]
        hatched = board.driver.find_elements("css selector", "#live-slots .seg.is-down")
        assert {each.get_attribute("data-shard") for each in hatched} == {
            "cache-7",
            f"cache-{last}",
        }
        replaced = set(board.driver.execute_script("return [...window.replaced]"))
        assert replaced == {"shard-cache-7", f"shard-cache-{last}"}, "no other row is touched"
        assert findings(board) == {}
    board.see("No alerts", "#live-alerts")
    await_order(board, "cache-0", "cache-1")
    assert board.complaints() == []


def test_shards_are_found_by_name_and_the_url_says_which(board: Page) -> None:
    mark(board)
    field = find(board, "#q")
    field.send_keys("cache-1")
    ones = [f"cache-{number}" for number in range(SHARDS) if str(number).startswith("1")]
    board.until(lambda: listed(board) == ones)
    board.see(f"{len(ones)} of {SHARDS} shown", "#live-found")
    assert board.driver.execute_script("return document.activeElement.id") == "q"
    field.send_keys("x")
    board.see("No shard is so", "#live-found")
    assert board.driver.current_url.endswith("/pools/cache?q=cache-1x")
    field.send_keys(Keys.BACKSPACE)
    board.until(lambda: listed(board) == ones)
    assert not_reloaded(board)
    board.driver.refresh()
    board.until(lambda: not not_reloaded(board) and listed(board) == ones)
    find(board, "#q").send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE)
    board.until(lambda: len(listed(board)) == SHARDS)
    assert board.complaints() == []


def test_columns_sort_by_the_keyboard_and_follow_what_happens(
    board: Page, stack: LocalStack
) -> None:
    mark(board)
    keys = board.driver.find_element("link text", "Keys")
    keys.send_keys(Keys.ENTER)
    board.until(lambda: board.driver.current_url.endswith("?sort=-keys"))
    heads = "return [...document.querySelectorAll('#live-head [aria-sort=descending]')].length"
    board.until(lambda: board.driver.execute_script(heads) == 1)
    leave(board)
    for number, count in ((12, 100), (30, 200)):
        address = parse_address(stack.info["shards"][number]["master"])
        with redis.Redis(address.host, address.port) as master:
            master.mset({f"sort:{each}": "x" for each in range(count)})
        await_order(board, f"cache-{number}")
    assert listed(board)[:2] == ["cache-30", "cache-12"]
    board.driver.back()
    await_order(board, "cache-0", "cache-1")
    assert not_reloaded(board)
    board.open("/pools/cache?sort=-keys")
    await_order(board, "cache-30", "cache-12")


def test_details_open_and_close_by_the_keyboard(board: Page) -> None:
    find(board, "#toggle-cache-3").send_keys(Keys.ENTER)
    board.see("Fail over", "#shard-cache-3")
    focus = "return [document.activeElement.id, document.activeElement.ariaExpanded]"
    assert board.driver.execute_script(focus) == ["toggle-cache-3", "true"]
    assert board.driver.current_url.endswith("?open=cache-3")
    find(board, "#toggle-cache-3").send_keys(Keys.ENTER)
    board.until(lambda: "Fail over" not in board.text("#shard-cache-3"))
    assert board.driver.execute_script(focus) == ["toggle-cache-3", "false"]
    assert board.driver.current_url.endswith("/pools/cache")


def test_an_alert_leads_to_its_shard_whatever_was_filtered(board: Page, stack: LocalStack) -> None:
    board.open("/pools/cache?q=cache-1")
    board.see("live", "#link")
    with killed(stack, SHARDS - 5):
        name = f"cache-{SHARDS - 5}"
        board.see(f"{name} is down", "#live-alerts")
        find(board, f"#live-alerts a[data-show={name}]").click()
        board.until(lambda: find(board, f"#shard-{name}.details"))
        focus = board.driver.execute_script("return document.activeElement.id")
        assert focus == f"toggle-{name}"
        assert board.in_sight(f"#shard-{name}")
        assert find(board, "#q").get_property("value") == ""
    board.see("No alerts", "#live-alerts")


def test_nothing_moves_under_the_pointer(board: Page, stack: LocalStack) -> None:
    row = find(board, "#shard-cache-5")
    ActionChains(board.driver).move_to_element(row).move_by_offset(3, 0).perform()
    before = row.rect["y"]
    with killed(stack, 20):
        board.see("cache-20 is down", "#live-alerts")
        board.see("order held while you are here", "#held")
        assert find(board, "#shard-cache-5").rect["y"] == before
        leave(board)
        await_order(board, "cache-20", "cache-0")
        assert board.text("#held") == ""
    board.see("No alerts", "#live-alerts")


def test_the_slot_map_tells_whose_slots_they_are(board: Page) -> None:
    each = board.driver.find_elements("css selector", "#slotmap-now .seg")
    assert {segment.get_attribute("data-shard") for segment in each} == set(listed(board))
    drawn = find(board, "#slotmap-now")
    drawn.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert "cache-1, slots " in board.text("#slot-told-now")
    drawn.send_keys(Keys.END)
    assert f"cache-{SHARDS - 1}, slots " in board.text("#slot-told-now")
    read = "return document.querySelector('#slotmap-now ul').textContent"
    assert "cache-0, slots 0 to " in board.driver.execute_script(read)
    drawn.send_keys(Keys.ENTER)
    board.until(lambda: find(board, f"#shard-cache-{SHARDS - 1}.details"))


def test_it_fits_a_phone_and_a_page_at_200_percent(board: Page) -> None:
    for width, height in ((NARROW, 844), (WIDTH // 2, HEIGHT // 2)):
        board.resize(width, height)
        board.fits(width)
    board.resize(NARROW, 844)
    heights = """return [...document.querySelectorAll("#shards > tbody")]
        .map((row) => row.offsetHeight)"""
    assert max(board.driver.execute_script(heights)) < 100, "two lines a shard"


def test_without_javascript_links_and_buttons_do_the_same(
    plain_chromium: webdriver.Chrome, stack: LocalStack
) -> None:
    page = Page(plain_chromium, stack.info["dashboard"])
    page.sign_in(stack.token)
    page.open("/pools/cache?q=cache-1")
    assert f"of {SHARDS} shown" in page.text("#live-found")
    find(page, "#toggle-cache-1").click()
    page.until(lambda: "Fail over" in page.text("#shard-cache-1"))
    assert page.driver.current_url.endswith("?q=cache-1&open=cache-1#shard-cache-1")
    page.driver.find_element("link text", "Keys").click()
    page.until(lambda: "sort=-keys" in page.driver.current_url)
    assert "Fail over" in page.text("#shard-cache-1")
