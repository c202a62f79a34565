"""Every page, as people use it who see little, or use no pointer: light, dark, narrow, enlarged."""

from __future__ import annotations

import signal

import pytest
import redis

from cachemesh.core.names import parse_address
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from tests.support.accessible_page import findings
from tests.support.browser_page import Page

pytestmark = pytest.mark.browser

LONG = "a-shard-whose-name-is-as-long-as-63-characters-of-which-some-wr"


def await_focus(page: Page, field: str, described_by: str) -> None:
    """Wait until a field has the focus that says that it is wrong, and what describes why."""
    script = """const field = document.activeElement;
        return [field.id, field.getAttribute("aria-invalid"),
                field.getAttribute("aria-describedby")]"""
    page.until(lambda: page.driver.execute_script(script) == [field, "true", described_by])


def test_signing_in(page: Page) -> None:
    assert findings(page) == {}
    page.sign_in("wrong-token")
    await_focus(page, "token", "problem token-help")
    assert findings(page) == {}


def test_the_pool(board: Page) -> None:
    assert findings(board) == {}


def test_a_shard_with_the_longest_name(
    board: Page, stack: LocalStack, metaserver: MetaserverClient
) -> None:
    spare = stack.info["spares"][0]["master"]
    body = {"name": LONG, "master": spare, "strategy": "drop"}
    metaserver.request("POST", "/v1/pools/cache/shards", body, timeout=60)
    board.see(LONG, "#live-shards")
    assert findings(board) == {}
    board.open(f"/pools/cache?open=!{LONG}")
    board.see("live", "#link")
    assert LONG in board.text(f"#shard-{LONG}").replace("\n", "")
    assert findings(board) == {}
    board.open(f"/pools/cache/shards/{LONG}/remove")
    assert findings(board) == {}


def test_a_pool_whose_long_name_has_no_place_to_break(board: Page) -> None:
    """A page is as wide as its widest word; the name is put where the page has that of the pool."""
    longer = """const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) texts.currentNode.data =
            texts.currentNode.data.replace(/\\bcache(-0)?(?![-\\w])/g, arguments[0])"""
    pages = ("clients", "sentinels", "events", "history", "doctor", "settings", "pause")
    for page in (*pages, "shards/cache-0", "shards/cache-0/failover"):
        board.open(f"/pools/cache/{page}")
        board.driver.execute_script(longer, "x" * 59)
        board.resize(390, 844)
        assert "x" * 59 in board.text("main").replace("\n", "")
        board.fits(390)


REFUSED: tuple[tuple[str, dict[str, str], str], ...] = (
    ("new", {"name": "cache 9", "master": "127.0.0.1:1", "weight": "1"}, "name"),
    ("new", {"name": "cache-9", "master": "nowhere", "weight": "1"}, "master"),
    ("new", {"name": "cache-9", "master": "127.0.0.1:1", "weight": "1"}, "master"),
    ("new", {"name": "cache-0", "master": "127.0.0.1:1", "weight": "1"}, "name"),
    ("new", {"name": "cache-9", "master": "127.0.0.1:1", "weight": "0"}, "weight"),
    ("cache-0/weight", {"weight": "heavy"}, "weight"),
    ("cache-0/weight", {"weight": "1001"}, "weight"),
)
"""The page of a change, what is typed there, and the field that is wrong."""


def test_the_focus_goes_to_the_wrong_field_which_says_so(board: Page) -> None:
    for path, fields, wrong in REFUSED:
        board.open(f"/pools/cache/shards/{path}")
        for field, text in fields.items():
            board.fill(field, text)
        board.press("Preview")
        await_focus(board, wrong, f"problem {wrong}-help")
        assert board.text("#problem")


def test_forms_previews_and_refusals(board: Page) -> None:
    board.open("/pools/cache/shards/new")
    assert findings(board) == {}
    board.open("/pools/cache/shards/cache-0/weight")
    board.fill("weight", "0")
    board.press("Preview")
    assert findings(board) == {}
    board.fill("weight", "2")
    board.press("Preview")
    assert findings(board) == {}
    board.open("/pools/cache/shards/cache-0/remove")
    board.fill("typed", "cache-1")
    board.press("Remove cache-0")
    await_focus(board, "typed", "problem")
    for path in ("cache-0/failover", "cache-9/failover"):
        board.open(f"/pools/cache/shards/{path}")
        assert findings(board) == {}


def follow(page: Page, name: str) -> None:
    """Follow a link of the pool's navigation."""
    page.driver.find_element("css selector", f".pages a[href$='{name}']").click()
    page.until(lambda: page.driver.current_url.endswith(name))


def test_the_further_pages_of_a_pool(
    board: Page, stack: LocalStack, metaserver: MetaserverClient
) -> None:
    """With all that they can show: who lags, who does not answer, an event in full."""
    late = {
        "client": "late",
        "version": 0,
        "wait": 0,
        "app": "shop",
        "host": "web-3",
        "settings": {"command_timeout": "0.5"},
        "quality": {"cache-0": {"calls": 9, "latency": {"47": 9}, "errors": {"timeout": 3}}},
    }
    metaserver.request("POST", "/v1/pools/cache/watch", late)
    follow(board, "/clients")
    assert "lags" in board.text("#clients tbody")
    assert findings(board) == {}
    silent = stack.process(stack.info["sentinels"][2])
    silent.kill(signal.SIGKILL)
    try:
        path = "/v1/pools/cache/sentinels"
        board.until(lambda: not metaserver.request("GET", path)["sentinels"][2]["up"])
        follow(board, "/sentinels")
        assert "unreachable" in board.text("#matrix tbody")
        assert findings(board) == {}
    finally:
        silent.restart()
    follow(board, "/events")
    board.driver.find_element("css selector", ".log .of a").click()
    board.see("and what came before it")
    assert findings(board) == {}
    follow(board, "/doctor")
    assert "no-maxmemory" in board.text("main")
    assert findings(board) == {}
    assert board.complaints() == []
    follow(board, "/pools/cache")
    board.see("live", "#link")


def test_one_shard(board: Page, stack: LocalStack) -> None:
    """With connections and slow commands; the details of the list lead to it."""
    address = parse_address(stack.info["shards"][0]["master"])
    with redis.Redis(address.host, address.port, client_name="reports") as master:
        master.config_set("slowlog-log-slower-than", 0)
        master.get("long" * 100)
        master.config_set("slowlog-log-slower-than", 10_000)
        board.driver.find_element(
            "css selector", "#shard-cache-0 a[href$='/shards/cache-0']"
        ).click()
        board.see("What to type")
    assert "reports" in board.text("#connections")
    assert "longlong" in board.text("#slow")
    assert findings(board) == {}
    assert board.complaints() == []


def test_settings(board: Page) -> None:
    board.open("/pools/cache/settings")
    board.fill("set-max_lag", "-1")
    board.press("Preview")
    await_focus(board, "set-max_lag", "problem set-max_lag-help")
    assert findings(board) == {}
    board.fill("set-max_lag", "2")
    board.press("Preview")
    assert "none (default)" in board.text("#preview")
    assert findings(board) == {}


def test_tokens(board: Page) -> None:
    board.open("/tokens/new")
    board.fill("name", LONG)
    board.fill("expires", "soon")
    board.press("Preview")
    await_focus(board, "expires", "problem expires-help")
    assert findings(board) == {}
    board.fill("expires", "2d")
    board.press("Preview")
    board.press(f"Make {LONG}")
    board.see("Keep it now.")
    assert findings(board) == {}
    board.open("/tokens")
    assert findings(board) == {}
    board.press(f"Rotate {LONG}")
    board.press("Preview")
    board.fill("typed", "cache-1")
    board.press(f"Rotate {LONG}")
    await_focus(board, "typed", "problem")
    assert findings(board) == {}


def test_the_history(board: Page) -> None:
    board.open("/pools/cache/history?range=5m")
    board.reload_until(lambda: "Nothing is known yet" not in board.text())
    board.driver.execute_script("document.querySelector('details').open = true")
    assert findings(board) == {}


def test_a_page_that_is_not_there(board: Page) -> None:
    board.open("/pools/nobody")
    assert "nobody" in board.text("[role=alert]")
    assert findings(board) == {}


def test_the_size_that_the_browser_gives_letters_is_kept(board: Page) -> None:
    """Every size of the page grows with it, so that nothing is cut off or laid over another."""
    script = """document.documentElement.style.fontSize = "24px";
        return getComputedStyle(document.body).fontSize"""
    assert board.driver.execute_script(script) == "21px"
    board.fits(1440)
    board.resize(390, 844)
    board.fits(390)


def test_a_metaserver_without_a_pool_and_its_first_one(
    board: Page, stack: LocalStack, metaserver: MetaserverClient
) -> None:
    """This is the last one: it forgets the pool."""
    metaserver.request("DELETE", "/v1/pools/cache", timeout=60)
    board.open("/")
    board.see("No pools yet")
    assert findings(board) == {}
    board.press("Make a pool")
    board.fill("pool", "first")
    board.fill("shards", f"first-0={stack.info['shards'][0]['master']}")
    board.fill("sentinels", "nobody:0")
    board.press("Preview")
    await_focus(board, "sentinels", "problem sentinels-help")
    assert findings(board) == {}
    board.fill("sentinels", " ".join(stack.info["sentinels"]))
    board.press("Preview")
    assert findings(board) == {}
    board.press("Make first")
    board.see("Done: create pool first")
