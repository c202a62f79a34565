"""A move of keys as an operator sees and steers it on the pool's page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cachemesh import CacheMesh
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from tests.support.accessible_page import findings
from tests.support.browser_page import Page

pytestmark = pytest.mark.browser

# Of the keys a quarter moves, so many each second: it outlasts a test on a slow machine.
KEYS, SLOW = 20_000, 20
POOL = "/v1/pools/cache"


def resize_of(metaserver: MetaserverClient) -> Any:
    return metaserver.request("GET", f"{POOL}/status")["resize"]


def await_rest(page: Page, metaserver: MetaserverClient) -> None:
    """Wait until the pool is neither resized nor swept."""
    page.until(lambda: resize_of(metaserver) is None)
    page.until(lambda: not metaserver.request("GET", f"{POOL}/status")["sweeps"])


@pytest.fixture(scope="module")
def filled(stack: LocalStack) -> None:
    with CacheMesh.from_url(stack.info["url"], token=stack.token) as client:
        client.mset({f"key:{number}": "x" * 100 for number in range(KEYS)})


@pytest.fixture
def moving(
    filled: None, page: Page, stack: LocalStack, metaserver: MetaserverClient
) -> Iterator[None]:
    """Keys move slowly to a shard that is added."""
    body = {"name": "late", "master": stack.info["spares"][0]["master"], "strategy": "move"}
    metaserver.request("POST", f"{POOL}/shards", {**body, "keys_per_second": SLOW}, timeout=60)
    page.until(lambda: resize_of(metaserver)["moved"])
    yield
    if resize_of(metaserver) is not None:
        if not resize_of(metaserver)["back"]:
            metaserver.request("DELETE", f"{POOL}/resize")
        unbound = {"paused": False, "keys_per_second": 0}
        metaserver.request("PATCH", f"{POOL}/resize", unbound)
    await_rest(page, metaserver)


def moved(page: Page) -> int:
    return int(page.text("#moved-keys").replace(",", ""))


def top_of_shards(page: Page) -> Any:
    script = "return document.getElementById('live-shards').getBoundingClientRect().top"
    return page.driver.execute_script(script)


def test_a_move_is_seen_paused_slowed_down_and_given_up(
    moving: None, board: Page, metaserver: MetaserverClient
) -> None:
    board.see("moving", "#migration")
    shown = board.text("#migration")
    for words in (
        "add shard late",
        "by admin",
        "cache-0 → late",
        f"at most {SLOW}",
        "Longest hold",
    ):
        assert words in shown
    assert board.text("#migration [aria-current=step]") == "move"
    links = board.driver.find_elements("css selector", "#shard-late .actions a")
    assert [link.text.split()[0] for link in links] == ["Page"], "what joins is not changed"
    before, top = moved(board), top_of_shards(board)
    board.driver.execute_script("window.notReloaded = true")
    board.until(lambda: moved(board) > before)
    assert board.driver.execute_script("return window.notReloaded")
    assert top_of_shards(board) == top, "nothing moves while figures change"
    assert board.driver.find_element("css selector", "#migration progress").get_property("value")

    board.press("Pause")
    assert "Paused" in board.text(".notice")
    board.see("paused", "#migration")
    assert resize_of(metaserver)["paused"]
    board.press("Throttle")
    metaserver.request("PATCH", f"{POOL}/resize", {"keys_per_second": SLOW + 1})
    board.fill("max_latency", "50")
    board.press("Set the pace")
    board.see(f"at most {SLOW + 1}, as shards answer in 50 ms", "#migration")  # as others set it
    board.press("Throttle")
    board.fill("keys_per_second", "many")
    board.press("Set the pace")
    assert "not a whole number" in board.text("[role=alert]")
    assert "400" in "".join(board.complaints())
    board.fill("keys_per_second", "10")  # so that the way back is seen
    board.fill("max_latency", "40")
    board.press("Set the pace")
    board.see("at most 10, as shards answer in 40 ms", "#migration")
    board.press("Resume")
    board.see("moving", "#migration")
    assert not resize_of(metaserver)["paused"]

    board.press("Give up")
    assert "move the keys back" in board.text("#preview")
    assert not resize_of(metaserver)["back"], "a preview changes nothing"
    other = "document.querySelector('[name=summary]').value = 'give up the resize: another'"
    board.driver.execute_script(other)
    board.press("Give it up")
    assert "Another resize is under way since the preview" in board.text("[role=alert]")
    assert not resize_of(metaserver)["back"]
    assert "409" in "".join(board.complaints())
    board.press("Give it up")
    board.see("moving back", "#migration")
    board.see("late → cache-0, cache-1, cache-2", "#migration")
    assert "Give up" not in board.text("#migration")
    metaserver.request("PATCH", f"{POOL}/resize", {"keys_per_second": 0, "max_latency": 0})
    board.until(lambda: not board.driver.find_elements("id", "migration"))
    board.see("admin gave up the resize of late: keys move back", "#live-events")
    assert board.complaints() == []


def test_it_fits_a_phone(moving: None, board: Page) -> None:
    board.resize(390, 844)
    board.see("keys/s", "#migration")
    board.fits(390)


def test_everybody_can_use_its_pages(moving: None, board: Page) -> None:
    board.see("keys/s", "#migration")
    assert findings(board) == {}
    for path in ("throttle", "give-up"):
        board.open(f"/pools/cache/migration/{path}")
        assert findings(board) == {}
    board.open("/pools/cache/migration/throttle")
    board.fill("max_latency", "many")
    board.press("Set the pace")
    field = board.driver.switch_to.active_element
    assert (field.get_attribute("id"), field.get_attribute("aria-invalid")) == (
        "max_latency",
        "true",
    )


def test_a_read_token_sees_it_and_steers_nothing(
    moving: None, page: Page, metaserver: MetaserverClient
) -> None:
    made = metaserver.request("POST", "/v1/tokens", {"name": "viewer", "role": "read"})
    page.sign_in(made["token"])
    page.see("add shard late", "#migration")
    for words in ("Pause", "Throttle", "Give up"):
        assert words not in page.text("#migration")
    page.open("/pools/cache/migration/give-up")
    assert "read token" in page.text("[role=alert]")
    metaserver.request("DELETE", f"/v1/tokens/{made['id']}")


def test_without_one_there_is_no_panel_and_nothing_to_steer(
    board: Page, metaserver: MetaserverClient
) -> None:
    await_rest(board, metaserver)
    board.until(lambda: not board.driver.find_elements("id", "migration"))
    for path in ("throttle", "give-up"):
        board.open(f"/pools/cache/migration/{path}")
        board.see("is under way", "[role=alert]")


def test_a_change_says_what_becomes_of_the_keys(
    filled: None, board: Page, stack: LocalStack, metaserver: MetaserverClient
) -> None:
    await_rest(board, metaserver)
    board.open("/pools/cache/shards/new")
    board.fill("name", "late")
    board.fill("master", stack.info["spares"][0]["master"])
    board.driver.find_element("css selector", "[name=strategy][value=drop]").click()
    board.press("Preview")
    assert "Keys that go cold" in board.text("#preview")
    board.press("Move the keys instead")
    assert "move keys from cache-0 to late" in board.text("#preview")
    assert len(board.driver.find_elements("css selector", "#preview .slotmap")) == 2
    assert board.driver.find_elements("css selector", "#preview .seg.moves")
    assert "Keys that move" in board.text("#preview")
    board.press("Add late")
    assert "add shard late" in board.text(".notice")
    await_rest(board, metaserver)
    assert all_keys(stack) == KEYS, "no key went cold"
    board.open("/pools/cache/shards/late/remove")
    assert "Keys that move" in board.text("#preview"), "unless told otherwise"
    board.fill("typed", "late")
    board.press("Remove late")
    assert "remove shard late" in board.text(".notice")
    await_rest(board, metaserver)
    assert all_keys(stack) == KEYS


def all_keys(stack: LocalStack) -> int:
    with CacheMesh.from_url(stack.info["url"], token=stack.token) as client:
        return int(client.dbsize())
