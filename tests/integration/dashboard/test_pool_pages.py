"""The further pages of a pool, of a real metaserver."""

from __future__ import annotations

import html
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, tzinfo

import pytest
import redis
from flask.testing import FlaskClient
from typing_extensions import Self

from cachemesh import CacheMesh
from cachemesh.core.names import parse_address
from cachemesh.local import LocalStack
from dashboard import pool_pages
from dashboard.app import create_app
from dashboard.config import DashboardConfig
from dashboard.state import DashboardState
from tests.support.metaserver_process import Api
from tests.support.waiting import until

ATTACK = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=0, dashboard=False) as stack:
        yield stack


@pytest.fixture(scope="module")
def admin(stack: LocalStack) -> Api:
    return Api(stack.info["metaservers"][0], stack.token)


@pytest.fixture(scope="module")
def reader(admin: Api) -> Api:
    return admin.as_reader()


@pytest.fixture(scope="module")
def browser(reader: Api) -> FlaskClient:
    """A browser that is signed in with a read token."""
    return signed_in(reader, "read")


def signed_in(user: Api, role: str) -> FlaskClient:
    config = DashboardConfig((user.address,))
    app = create_app(config)
    shared = app.extensions["cachemesh-dashboard"]
    assert isinstance(shared, DashboardState)
    assert user.token is not None
    client = app.test_client()
    client.set_cookie(config.cookie_name, shared.sessions.create(user.token, role).id)
    return client


def words(browser: FlaskClient, path: str, status: int = 200) -> str:
    """Return the text of a page, which holds no markup that somebody has brought in."""
    reply = browser.get(path)
    assert reply.status_code == status, reply.text
    assert "<img" not in reply.text
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", reply.text)).split())


def links(browser: FlaskClient, path: str) -> list[str]:
    return [html.unescape(link) for link in re.findall('href="([^"]*)"', browser.get(path).text)]


@pytest.mark.parametrize("page", ["clients", "sentinels", "events"])
def test_each_page_leads_to_the_others_and_back(browser: FlaskClient, page: str) -> None:
    led = links(browser, f"/pools/cache/{page}")
    pages = [f"/pools/cache{each}" for each in ("", "/clients", "/sentinels", "/events")]
    assert set(pages) <= set(led)
    current = re.findall('href="([^"]*)" aria-current="page"', browser.get(pages[1]).text)
    assert current == [pages[1]]
    assert "There is no pool 'nobody'" in words(browser, f"/pools/nobody/{page}", 404)


def test_sentinels_beside_shards(browser: FlaskClient, stack: LocalStack) -> None:
    path = "/pools/cache/sentinels"
    until(lambda: "All agree about every master" in words(browser, path))
    shown = words(browser, path)
    assert re.search(r"as the metaserver found at \d\d:\d\d:\d\d UTC", shown)
    for address in (*stack.info["sentinels"], *(each["master"] for each in stack.info["shards"])):
        assert address in shown
    silent = stack.process(stack.info["sentinels"][2])
    silent.kill()
    try:
        until(lambda: "1 of 3 does not answer" in words(browser, path))
        assert words(browser, path).count("unreachable") == 3  # its head, and each shard
    finally:
        silent.restart()


def test_the_doctor_tells_admins_what_is_configured_wrong(
    browser: FlaskClient, admin: Api, stack: LocalStack
) -> None:
    path = "/pools/cache/doctor"
    assert "token" in words(browser, path, 403)
    assert "/pools/cache/events" in links(browser, path), "it leads on"
    address = parse_address(stack.info["shards"][1]["master"])
    with redis.Redis(address.host, address.port) as master:
        master.config_set("timeout", 300)
        shown = words(signed_in(admin, "admin"), path)
        master.config_set("timeout", 0)
    assert "What the doctor finds in cache" in shown
    assert f"cache-1 {address} timeout 300" in shown
    assert f"redis-cli -h 127.0.0.1 -p {address.port} CONFIG SET timeout 0" in shown
    assert "idle-timeout" in shown


SHARD = "/pools/cache/shards/cache-0"


def test_a_shard_with_its_slow_commands_and_connections(
    browser: FlaskClient, admin: Api, reader: Api, stack: LocalStack
) -> None:
    address = parse_address(stack.info["shards"][0]["master"])
    name = "<img/src=x>"
    until(lambda: "Shard cache-0 up" in words(browser, SHARD))
    with (
        CacheMesh.from_url(stack.info["url"], token=stack.token, client_name=name) as app,
        redis.Redis(address.host, address.port) as master,
    ):
        key = next(each for each in map(str, range(100)) if app.shard_for(each) == "cache-0")
        master.config_set("slowlog-log-slower-than", 0)
        app.set(key, "slow value")
        master.config_set("slowlog-log-slower-than", 10_000)
        told = admin("GET", f"/v1{SHARD}/connections").json
        shown = words(signed_in(admin, "admin"), SHARD)
    (group,) = [each for each in told["groups"] if each["owner"] == "app"]
    assert (group["name"], group["clients"], group["hosts"]) == (name, 1, 1)
    assert told["instance"] == str(address)
    assert {each["owner"] for each in told["idle"]} == {"app", "other"}
    assert "Shard cache-0 up 8,192 slots · 50.0% of the keys · weight 1" in shown
    assert f"{address} master up" in shown
    assert f"SET {key} 'slow value'" in shown
    assert f"{name} default {group['connections']} 1 1" in shown
    assert "Nothing: no failover, no move of keys, no sweep" in shown
    assert "3 of 3 monitor it, quorum 2" in shown
    assert reader("GET", f"/v1{SHARD}/connections").status == 403
    read = words(browser, SHARD)
    assert f"{address} master up" in read
    assert "Slow commands are told to an admin's token" in read
    assert "Connections are told to an admin's token" in read
    assert "has no shard 'nobody'" in words(browser, "/pools/cache/shards/nobody", 404)
    led = links(browser, SHARD)
    assert {"/pools/cache?show=cache-0", "/pools/cache/history?shard=cache-0"} <= set(led)


def test_a_shard_whose_instance_refuses_or_hangs_is_shown(admin: Api, stack: LocalStack) -> None:
    address = parse_address(stack.info["shards"][0]["master"])
    browser = signed_in(admin, "admin")
    with redis.Redis(address.host, address.port) as master:
        master.execute_command("ACL", "SETUSER", "default", "-slowlog", "-client|list")
        refused = words(browser, SHARD)
        master.execute_command("ACL", "SETUSER", "default", "+slowlog", "+client|list")
    assert f"Master {address} does not tell: " in refused
    assert "'slowlog|get'" in refused and "'client|list'" in refused
    hanging = stack.process(str(address))
    hanging.pause()
    try:
        silent = words(browser, SHARD)
    finally:
        hanging.resume()
    assert silent.count(f"{address} gave no full answer in 2 s") >= 2
    assert "What to type" in silent
    until(lambda: "cache-0 up" in words(browser, SHARD))


def test_events_are_found_by_page_and_by_link(browser: FlaskClient, stack: LocalStack) -> None:
    """They are put into the store directly: the metaserver refuses such names."""
    row = ("2020-01-01T00:00:00Z", "token:anna", "shard.set-weight", "cache", "cache-9", ATTACK)
    insert = (
        "INSERT INTO events (at, actor, action, pool, target, detail, before, after)"
        " VALUES (?, ?, ?, ?, ?, ?, '{\"weight\": 1}', '{\"weight\": 77}')"
    )
    with closing(sqlite3.connect(stack.directory / "meta.db")) as store, store:
        made = [store.execute(insert, row).lastrowid for _ in range(60)]
    path = "/pools/cache/events"
    found = f"{path}?q=ANNA&action=shard"
    assert words(browser, found).count("set the weight of cache-9") == 50
    (older,) = [link for link in links(browser, found) if "before=" in link]
    assert older == f"?q=ANNA&action=shard&before={made[10]}"
    rest = words(browser, path + older)
    assert rest.count("set the weight of cache-9") == 10
    assert ATTACK in rest
    assert "created pool cache" in words(browser, f"{path}?action=pool.create")
    assert "No event is so" in words(browser, f"{path}?shard=cache-9&since=1h")
    one = words(browser, f"{path}?event={made[0]}")
    assert f"Event {made[0]}, and what came before it" in one
    assert '"weight": 77' in one
    assert one.count("set the weight of cache-9") == 1
    assert "There is no event 999999 of cache" in words(browser, f"{path}?event=999999")
    assert "'1w' is no time" in words(browser, f"{path}?since=1w", 400)


class _LaterDatetime(datetime):
    """A clock that is an hour ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + timedelta(hours=1)


def test_a_history_of_a_metaserver_whose_clock_is_another_one(
    browser: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_pages, "datetime", _LaterDatetime)
    path = "/pools/cache/history?range=5m"
    until(lambda: "Nothing is known yet" not in words(browser, path))
    shown = words(browser, path)
    assert "created pool cache" in shown
    # Nothing is known of the points in which a test has stopped an instance.
    until(lambda: re.search(r"Keys, the last 5 minutes: now \d", browser.get(path).text))


def test_a_sweep_names_the_client_that_it_waits_for(browser: FlaskClient, admin: Api) -> None:
    """This is the last one: it removes a shard."""
    path = "/pools/cache/clients"
    assert "No client follows the pool" in words(browser, path)
    late = {
        "client": "late",
        "version": 0,
        "wait": 0,
        "app": ATTACK,
        "host": "web-3",
        "quality": {"cache-0": {"calls": 90, "latency": {"47": 90}, "errors": {"timeout": 3}}},
    }
    assert admin("POST", "/v1/pools/cache/watch", late).status == 200
    shown = words(browser, path)
    assert "1 client lags" in shown
    assert "No sweep and no migration waits for a client" in shown
    assert f"{ATTACK} late none yet lags" in shown
    assert "timeout 0." in shown
    removed = admin("DELETE", "/v1/pools/cache/shards/cache-1?strategy=drop", timeout=60)
    assert removed.status in (200, 202), removed.text
    until(lambda: "The sweep of cache-1 waits for 1 client to act on v" in words(browser, path))
    shown = words(browser, path)
    assert "The sweep of cache-1 waits for it" in shown
    assert "Fenced until they acknowledge: late" in shown
    assert "No client is so. Show all 1" in words(browser, f"{path}?state=current")
    past = browser.get("/pools/cache/history?shard=cache-1&range=1d").text
    assert '<option value="cache-1" selected>cache-1, removed</option>' in past
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC</time> <b>admin</b> removed", past)
