"""Sessions, headers, CSRF and vendored files: what does not depend on the metaserver."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from dashboard.app import create_app
from dashboard.config import DashboardConfig
from dashboard.feed import PoolFeed, PoolSnapshot
from dashboard.sessions import MAX_SESSIONS, SessionStore
from dashboard.shard_list import ListOptions
from dashboard.shown_board import ShownBoard
from dashboard.state import DashboardState
from dashboard.upstream import Upstream
from tests.support.waiting import AT_MOST

DASHBOARD = Path(__file__).resolve().parents[3] / "dashboard"
VENDORS = (DASHBOARD / "static/vendor", DASHBOARD.parent / "tests/support/vendor")
COOKIE = "cachemesh_dashboard"


@pytest.fixture
def app() -> Flask:
    """A dashboard whose metaserver does not answer: nothing listens on a reserved port."""
    return create_app(DashboardConfig(("127.0.0.1:1",), read_timeout=1.0))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def sign_in(
    app: Flask, client: FlaskClient, role: str = "admin", pools: list[str] | None = None
) -> str:
    """Put a session into the store and return its CSRF token."""
    shared = app.extensions["cachemesh-dashboard"]
    assert isinstance(shared, DashboardState)
    session = shared.sessions.create("secret-token", role, pools)
    client.set_cookie(COOKIE, session.id)
    return session.csrf


def test_session_ends_when_idle_but_not_while_used() -> None:
    now = [0.0]
    store = SessionStore(60, clock=lambda: now[0])
    session = store.create("secret-token", "read")
    for now[0] in (50, 100, 150):
        assert store.get(session.id) is session
    now[0] = 205
    assert store.get(session.id, touch=False) is session
    now[0] = 211
    assert store.get(session.id) is None
    assert not store.token_in_use("secret-token")


def test_the_state_of_a_dashboard_shows_no_token(app: Flask) -> None:
    state = app.extensions["cachemesh-dashboard"]
    state.connect("secret-token")
    assert "secret-token" not in repr(state)


def test_a_session_keeps_its_last_notices() -> None:
    session = SessionStore(60).create("secret-token", "admin")
    for number in range(100):
        session.notices.append(f"Done: {number}.")
    assert session.take_notices() == [f"Done: {number}." for number in range(90, 100)]
    assert session.take_notices() == []


def test_sessions_are_bounded_and_hide_their_secrets() -> None:
    now = [0.0]
    store = SessionStore(60, clock=lambda: now[0])
    first = store.create("secret-token", "read")
    now[0] = 1
    for _ in range(MAX_SESSIONS):
        store.create("other", "read")
    assert store.get(first.id) is None
    assert not any(secret in repr(first) for secret in (first.id, first.token, first.csrf))


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/pools/cache", "/pools/cache/live", "/pools/c/shards/new"),
        *("/pools/cache/clients", "/pools/cache/sentinels", "/pools/cache/events"),
        "/pools/cache/doctor",
        *("/pools/c/settings", "/tokens", "/tokens/new", "/tokens/1/rotate", "/new-pool"),
    ],
)
def test_pages_need_a_session(client: FlaskClient, path: str) -> None:
    reply = client.get(path)
    assert (reply.status_code, reply.headers["Location"]) == (303, "/login")


def test_every_reply_carries_the_security_headers(client: FlaskClient) -> None:
    for path in ("/login", "/", "/nowhere", "/static/app.css"):
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert (headers["Cache-Control"] == "no-store") == (not path.startswith("/static"))


def test_login_needs_its_own_forms_token(client: FlaskClient) -> None:
    assert client.post("/login", data={"token": "t"}).status_code == 400
    client.get("/login")
    assert client.post("/login", data={"token": "t", "csrf": "guess"}).status_code == 400


def test_the_login_form_of_one_tab_works_after_another_has_shown_it(client: FlaskClient) -> None:
    first = login_csrf(client)
    login_csrf(client)
    reply = client.post("/login", data={"token": "secret-token", "csrf": first})
    assert reply.status_code == 503, "the form is good, and no metaserver answers"


def test_a_login_cookie_that_is_not_of_the_dashboards_making_is_replaced(
    client: FlaskClient,
) -> None:
    client.set_cookie(COOKIE + "_login", "chosen", path="/login")
    assert len(login_csrf(client)) == 43


def test_another_server_of_the_host_cannot_sign_a_browser_in(client: FlaskClient) -> None:
    """It may know the cookie's value, since browsers send cookies to every port of a host."""
    data = {"token": "secret-token", "csrf": login_csrf(client)}
    reply = client.post("/login", data=data, headers={"Origin": "http://localhost:8080"})
    assert reply.status_code == 403


@pytest.mark.parametrize("token", ["", "two words", "Ünicode", "line\r\nX-Header: 1"])
def test_login_refuses_what_cannot_be_a_token(client: FlaskClient, token: str) -> None:
    reply = client.post("/login", data={"token": token, "csrf": login_csrf(client)})
    assert reply.status_code == 400
    assert client.get_cookie(COOKIE) is None


def test_login_says_that_no_metaserver_answers(client: FlaskClient) -> None:
    reply = client.post("/login", data={"token": "secret-token", "csrf": login_csrf(client)})
    assert reply.status_code == 503
    assert "Metaserver unreachable" in reply.text
    assert "127.0.0.1:1" in reply.text
    assert "secret-token" not in reply.text


def login_csrf(client: FlaskClient) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', client.get("/login").text)
    assert found
    cookie = client.get_cookie(COOKIE + "_login", path="/login")
    assert cookie is not None
    assert cookie.http_only
    assert cookie.same_site == "Strict"
    return found[1]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 303),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, 303),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_changes_from_another_site_are_refused(
    app: Flask, client: FlaskClient, headers: dict[str, str], status: int
) -> None:
    csrf = sign_in(app, client)
    assert client.post("/logout", data={"csrf": csrf}, headers=headers).status_code == status


@pytest.mark.parametrize(
    "path",
    [
        *("/logout", "/pools/c/shards/new", "/pools/c/shards/s/remove", "/pools/c/settings"),
        *("/tokens/new", "/tokens/1/rotate", "/tokens/1/revoke", "/new-pool"),
    ],
)
def test_changes_need_the_sessions_token(app: Flask, client: FlaskClient, path: str) -> None:
    sign_in(app, client)
    for data in ({}, {"csrf": "guess"}, {"csrf": "gäß"}):
        assert client.post(path, data=data).status_code == 403


def test_logout_ends_the_session(app: Flask, client: FlaskClient) -> None:
    csrf = sign_in(app, client)
    assert client.get("/session").status_code == 204
    client.post("/logout", data={"csrf": csrf})
    assert client.get("/session").status_code == 401


@pytest.mark.parametrize(
    ("revoked", "words"), [(True, "no longer accepts the token"), (False, "session has ended")]
)
def test_each_request_learns_why_a_session_has_ended(
    app: Flask, client: FlaskClient, revoked: bool, words: str
) -> None:
    sign_in(app, client)
    shared = app.extensions["cachemesh-dashboard"]
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    shared.sessions.end(cookie.value, revoked=revoked)  # another request of the page was first
    for path in ("/", "/pools/cache", "/login"):
        assert words in client.get(path, follow_redirects=True).text


def test_a_read_token_gets_no_form(app: Flask, client: FlaskClient) -> None:
    csrf = sign_in(app, client, role="read")
    reply = client.get("/pools/cache/shards/new")
    assert reply.status_code == 403
    assert "read token" in reply.text
    assert client.post("/pools/cache/shards/new", data={"csrf": csrf}).status_code == 403


def test_a_token_for_some_pools_gets_the_forms_of_these(app: Flask, client: FlaskClient) -> None:
    csrf = sign_in(app, client, pools=["shop", "users"])
    for path in ("/pools/cache/shards/new", "/tokens", "/new-pool"):
        reply = client.get(path)
        assert reply.status_code == 403
        assert "an admin token for shop, users alone" in reply.text
        assert "Make a pool" not in reply.text and 'href="/tokens"' not in reply.text
    assert client.post("/pools/cache/pause", data={"csrf": csrf}).status_code == 403
    assert client.post("/pools/cache/settings", data={"csrf": csrf}).status_code == 403
    own = client.get("/pools/shop/shards/new")
    assert own.status_code == 200
    assert "admin<" in own.text and "of 2 pools" in own.text


def test_a_change_that_nobody_answered_is_not_asked_for_again_as_a_page(
    app: Flask, client: FlaskClient
) -> None:
    csrf = sign_in(app, client)
    assert 'http-equiv="refresh"' in client.get("/pools/cache/history").text
    for path in ("/pools/cache/pause/end", "/pools/cache/migration/paused"):
        reply = client.post(path, data={"csrf": csrf})
        assert reply.status_code == 503
        assert "refresh" not in reply.text


def test_inputs_are_kept_and_escaped_when_a_change_fails(app: Flask, client: FlaskClient) -> None:
    csrf = sign_in(app, client)
    typed = {"name": '"><script>alert(1)</script>', "master": "h:1", "weight": "7"}
    data = typed | {"csrf": csrf, "step": "preview"}
    reply = client.post("/pools/cache/shards/new", data=data)
    assert reply.status_code == 503
    assert "<script>" not in reply.text
    assert 'value="&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"' in reply.text
    assert 'value="7"' in reply.text
    reply = client.post("/pools/cache/shards/new", data=data | {"weight": "many"})
    assert reply.status_code == 400
    assert "not a whole number" in reply.text


def test_a_token_that_may_have_been_made_can_be_asked_for_again(
    app: Flask, client: FlaskClient
) -> None:
    """With the same key, so that the metaserver makes one token, and tells what became of it."""
    csrf, key = sign_in(app, client), 43 * "k"
    asked = {"csrf": csrf, "step": "confirm", "name": "shop", "role": "read"}
    reply = client.post("/tokens/new", data=asked | {"key": key})
    assert reply.status_code == 503
    assert "Metaserver unreachable" in reply.text and "Create read token shop" in reply.text
    assert f'name="key" value="{key}"' in reply.text
    for chosen in ("", "mine", 42 * "k" + "&"):
        assert client.post("/tokens/new", data=asked | {"key": chosen}).status_code == 400


@pytest.mark.parametrize("vendor", VENDORS, ids=["dashboard", "tests"])
def test_vendored_files_are_what_the_manifest_says(vendor: Path) -> None:
    packages = json.loads((vendor / "VENDOR.json").read_text(encoding="utf-8"))["packages"]
    listed = {"VENDOR.json"}
    for package in packages:
        assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"])
        assert package["integrity"].startswith("sha512-")
        assert any(name.endswith("LICENSE") for name in package["files"])
        for name, entry in package["files"].items():
            assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == entry["sha256"]
            listed.add(name)
    present = {str(path.relative_to(vendor)) for path in vendor.rglob("*") if path.is_file()}
    assert present == listed


def test_pages_are_self_contained() -> None:
    """Templates name no other host, have no inline script or style, and escape every value."""
    static = DASHBOARD / "static"
    own = [*DASHBOARD.rglob("*.html"), *static.glob("*.js"), *static.glob("*.css")]
    assert len(own) > 10
    for path in own:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://|@import|(?<!\.)\burl\((?!#)", text), path
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=)", text), path
        assert re.findall(r"\{\{ ([^}]*\|\s*safe)", text) == [
            f"parts.{name}|safe" for name in re.findall(r"parts\.(\w+)", text)
        ], path


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "dashboard", "--listen", address],
            cwd=DASHBOARD.parent,
            capture_output=True,
            text=True,
            timeout=AT_MOST,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"cannot listen on {address}: Address already in use" in done.stderr


def test_memory_that_is_not_known_is_not_called_unlimited(app: Flask) -> None:
    dead = {"address": "h:1", "up": False, "error": "connection refused"}
    snapshot = PoolSnapshot(status={"shards": [{"name": "a", "state": "down", "master": dead}]})
    feed = PoolFeed(Upstream(DashboardConfig(("127.0.0.1:1",)), "t"), "cache")
    with app.test_request_context("/"):
        shown = ShownBoard.of(feed, "cache", snapshot, can_change=False)
        totals = shown.fragments(ListOptions())["totals"]
    assert "Memory" in totals and "no limit set" not in totals


def test_events_and_names_are_escaped(app: Flask) -> None:
    attack = "<script>alert(1)</script>"
    event = {"id": 1, "at": attack, "actor": f"token:{attack}", "action": attack, "detail": attack}
    shard = {
        "name": attack,
        "state": attack,
        "reason": attack,
        "master": {"address": attack, "error": attack, "role": attack},
    }
    status = {
        "health": attack,
        "shards": [shard],
        "sweeps": [{"shard": attack, "state": attack}],
        "pause": dict.fromkeys(("state", "by", "since", "reason"), attack),
    }
    snapshot = PoolSnapshot(
        status=status, events=(event | {"target": attack},), connected=False, problem=None
    )
    feed = PoolFeed(Upstream(DashboardConfig(("127.0.0.1:1",)), "t"), "cache")
    with app.test_request_context("/"):
        shown = ShownBoard.of(feed, "cache", snapshot, can_change=True)
        html = "".join(shown.fragments(ListOptions.of({"q": attack})).values())
        html += "".join(map(shown.line, shown.lines.values()))
        html += "".join(map(shown.details, shown.view.shards))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 10
