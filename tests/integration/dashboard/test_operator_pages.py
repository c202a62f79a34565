"""The pages of settings, tokens and new pools against a real metaserver."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from dashboard.app import create_app
from dashboard.config import DashboardConfig
from dashboard.state import DashboardState
from tests.support.cli_in_process import run_here
from tests.support.html_forms import Shown, Visitor
from tests.support.metaserver_process import Api
from tests.support.waiting import AT_MOST, until

SETTINGS = "/pools/cache/settings"


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, sentinels=1, dashboard=False, timeout=AT_MOST) as running:
        yield running


@pytest.fixture(scope="module")
def app(stack: LocalStack) -> Flask:
    return create_app(DashboardConfig(tuple(stack.info["metaservers"])))


@pytest.fixture
def admin(app: Flask, stack: LocalStack) -> Visitor:
    return Visitor(app, stack.token)


@pytest.fixture(scope="module")
def api(stack: LocalStack) -> Api:
    return Api(stack.info["metaservers"][0], stack.token)


def settings(api: Api) -> dict[str, Any]:
    held: dict[str, Any] = api("GET", "/v1/pools/cache").json["settings"]
    return held


def test_settings_are_changed_after_a_look_at_the_difference(admin: Visitor, api: Api) -> None:
    page = admin.open(SETTINGS)
    assert "Seconds an app waits for a command" in page.text
    preview = page.send("preview", set_command_timeout="0.75", set_on_error="miss")
    assert "on_error What an app sees" in preview.text and "raise (default) miss" in preview.text
    assert "No client runs just now" in preview.text and "Nothing has changed yet" in preview.text
    before = settings(api)
    assert "on_error" not in before
    saved = preview.send("confirm")
    assert (saved.reply.status_code, saved.reply.location) == (303, "/pools/cache")
    assert settings(api) == {**before, "command_timeout": 0.75, "on_error": "miss"}


def test_settings_that_another_operator_has_changed_meanwhile(admin: Visitor, api: Api) -> None:
    page = admin.open(SETTINGS)
    other = {"settings": {"poll_interval": 7, "on_error": None}}
    assert api("PATCH", "/v1/pools/cache/settings", other).status == 200
    preview = page.send("preview", set_connect_timeout="0.5")
    assert "connect_timeout" in preview.text and "poll_interval" not in preview.text
    other = {"settings": {"connect_timeout": 4}}
    assert api("PATCH", "/v1/pools/cache/settings", other).status == 200
    again = preview.send("confirm")
    assert again.reply.status_code == 409
    assert "The pool has changed since the preview" in again.text
    assert "4 0.5" in again.text, "the new difference"
    assert again.send("confirm").reply.status_code == 303
    held = settings(api)
    assert (held["connect_timeout"], held["poll_interval"]) == (0.5, 7)
    assert "on_error" not in held


def test_a_refused_setting_keeps_the_inputs_and_names_its_field(admin: Visitor) -> None:
    page = admin.open(SETTINGS)
    refused = page.send("preview", set_max_lag="-1", set_on_lease_lost="refuse")
    assert refused.reply.status_code == 400
    assert refused.invalid == ["set-max_lag"] and "out of range" in refused.text
    assert refused.fields["set-on_lease_lost"] == "refuse"
    unchanged = page.send("preview")
    assert unchanged.reply.status_code == 400 and "Nothing to save" in unchanged.text


def test_a_read_token_sees_settings_and_no_form(app: Flask, api: Api) -> None:
    made = api("POST", "/v1/tokens", {"name": "looker", "role": "read"}).json
    reader = Visitor(app, made["token"])
    page = reader.open(SETTINGS)
    assert page.reply.status_code == 200
    assert "Seconds an app waits for a command" in page.text and page.fields == {}
    for path in ("/tokens", "/tokens/new", f"/tokens/{made['id']}/rotate", "/new-pool"):
        assert reader.open(path).reply.status_code == 403
    assert page.send("preview").reply.status_code == 403
    assert api("DELETE", f"/v1/tokens/{made['id']}").status == 204


def text_of(page: Shown) -> str:
    """Return the text of the token that a page shows."""
    assert page.reply.status_code == 200, page.text
    assert page.reply.headers["Cache-Control"] == "no-store"
    head, _, rest = page.reply.text.partition('<code id="token-text" data-once>')
    text, _, tail = rest.partition("</code>")
    assert len(text) == 43 and text not in head and text not in tail
    return text


def tokens(api: Api) -> dict[str, Any]:
    return {token["name"]: token for token in api("GET", "/v1/tokens").json["tokens"]}


def test_the_text_of_a_token_is_in_one_reply_and_nowhere_else(
    admin: Visitor, app: Flask, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    page = admin.open("/tokens/new")
    preview = page.send("preview", name="shop", pools="cache", expires="90d")
    assert "Create read token shop, good for pool cache, until" in preview.text
    assert "shop" not in tokens(api), "it was a preview"
    made = preview.send("confirm")
    text = text_of(made)
    shop = Api(api.address, text)
    assert shop("GET", "/v1/pools/cache").status == 200
    assert shop("GET", "/v1/pools/other").problem == "forbidden"

    reloaded = preview.send("confirm")
    assert reloaded.reply.status_code == 409 and "sent before" in reloaded.text
    assert text not in reloaded.reply.text
    assert [each for each in tokens(api) if each.startswith("shop")] == ["shop"]
    assert "There is a token named 'shop' already" in page.send("preview", name="shop").text

    shared = app.extensions["cachemesh-dashboard"]
    assert isinstance(shared, DashboardState)
    sessions = [vars(session) for session in shared.sessions._sessions.values()]
    listed = admin.open("/tokens")
    assert "shop" in listed.text and "cache" in listed.text
    assert text not in f"{sessions} {listed.reply.text} {caplog.text}"
    assert text not in api("GET", "/v1/events").text

    rotated = rotate(admin, shop, text, tokens(api)["shop"]["id"])
    revoke(admin, rotated, tokens(api)["shop"]["id"])
    assert "shop" not in tokens(api)
    assert not any(each in caplog.text for each in (text, rotated.token or ""))


def rotate(admin: Visitor, shop: Api, text: str, token: str) -> Api:
    """Give a token another text at once, and return requests with that."""
    page = admin.open(f"/tokens/{token}/rotate")
    assert page.send("preview", overlap="soon").invalid == ["overlap"]
    preview = page.send("preview", overlap="0s")
    assert "locked out at once" in preview.text
    refused = preview.send("confirm", typed="shopping")
    assert refused.reply.status_code == 400 and refused.invalid == ["typed"]
    assert shop("GET", "/v1/pools").status == 200
    other = text_of(refused.send("confirm", typed="shop"))
    assert other != text
    again = refused.send("confirm", typed="shop")
    assert again.reply.status_code == 409 and other not in again.reply.text
    assert shop("GET", "/v1/pools").status == 401
    rotated = Api(shop.address, other)
    assert rotated("GET", "/v1/pools").status == 200, "the reload gave it no third text"
    return rotated


def revoke(admin: Visitor, shop: Api, token: str) -> None:
    preview = admin.open(f"/tokens/{token}/revoke")
    assert "Revoke token shop" in preview.text
    refused = preview.send("confirm", typed="")
    assert refused.invalid == ["typed"] and shop("GET", "/v1/pools").status == 200
    assert refused.send("confirm", typed="shop").reply.location == "/tokens"
    assert "Done: revoke token shop." in admin.open("/tokens").text
    assert shop("GET", "/v1/pools").status == 401
    assert admin.open(f"/tokens/{token}/revoke").reply.status_code == 404


def test_what_the_metaserver_refuses_of_tokens_is_told_in_the_form(
    admin: Visitor, api: Api
) -> None:
    preview = admin.open("/tokens/new").send("preview", name="brief", expires="0s")
    refused = preview.send("confirm")
    assert (refused.reply.status_code, refused.invalid) == (400, ["expires"])
    assert refused.fields["name"] == "brief"
    last = tokens(api)["admin"]["id"]
    kept = admin.open(f"/tokens/{last}/revoke").send("confirm", typed="admin")
    assert kept.reply.status_code == 409 and "the last admin token" in kept.text
    assert "create another such token first" in kept.text


def test_a_pool_is_made_after_a_preview(admin: Visitor, stack: LocalStack, api: Api) -> None:
    one, two = (stack.start_redis().address for _ in range(2))
    sentinel = stack.info["sentinels"][0]
    page = admin.open("/new-pool")
    refused = page.send("preview", pool="second", shards="second-0=127.0.0.1:1", sentinels=sentinel)
    assert refused.reply.status_code == 422 and refused.invalid == ["shards"]
    assert "127.0.0.1:1 cannot be reached" in refused.text
    assert refused.fields["pool"] == "second"
    shards = f"second-0={one}\r\nsecond-1={two},weight=3"
    preview = refused.send("preview", shards=shards, strategy="ketama", hash="md5")
    assert "Create pool second by ketama with 2 shards" in preview.text
    assert "no replica" in preview.text and f"second-1 {two} 3" in preview.text
    assert api("GET", "/v1/pools/second").status == 404, "it was a preview"
    edited = preview.send("edit")
    assert (edited.fields["shards"], edited.fields["hash"]) == (shards, "md5")
    made = preview.send("confirm")
    assert made.reply.location == "/pools/second", made.text
    placement = api("GET", "/v1/pools/second").json["placement"]
    assert (placement["strategy"], placement["hash"]) == ("ketama", "md5")
    taken = preview.send("confirm")
    assert taken.reply.status_code == 409 and taken.invalid == ["pool"]


def test_a_token_for_one_pool_changes_that_and_no_other(app: Flask, api: Api) -> None:
    limits = {"name": "second", "role": "admin", "pools": ["second"]}
    made = api("POST", "/v1/tokens", limits).json
    user = Visitor(app, made["token"])
    board = user.open("/pools/second")
    assert "Pause the pool" in board.text and "Add a shard" in board.text
    assert "signed in: admin of second" in board.text
    assert "New pool" not in board.text and "Tokens" not in board.text
    preview = user.open("/pools/second/settings").send("preview", set_command_timeout="0.5")
    assert preview.send("confirm").reply.status_code == 303
    assert api("GET", "/v1/pools/second").json["settings"]["command_timeout"] == 0.5
    for path in ("/pools/cache", "/pools/cache/events", "/pools/cache/settings", "/tokens"):
        assert user.open(path).reply.status_code == 403, path
    assert api("DELETE", f"/v1/tokens/{made['id']}").status == 204


def test_a_page_that_is_open_tells_that_its_pool_was_deleted(admin: Visitor, api: Api) -> None:
    assert "second-1" in admin.open("/pools/second").text
    stream = MetaserverClient([api.address], api.token).stream("/v1/stream", {"pool": "second"})
    assert next(stream)[0] == "document"
    version = api("GET", "/v1/pools/second").json["version"]
    assert api("DELETE", f"/v1/pools/second?version={version}").status == 200
    told = [data["action"] for name, data in stream if name == "event"]
    assert told == ["pool.delete"], "it tells so, and ends"
    until(lambda: "There is no pool 'second'" in admin.open("/pools/second").text)
    live = admin.open("/pools/second/live").reply.text
    assert "There is no pool &#39;second&#39;" in live
    assert live.endswith("retry: 15000\n\n")


def test_a_failover_of_an_old_preview_is_shown_again(admin: Visitor, api: Api) -> None:
    """Somebody may have failed the shard over meanwhile: a second failover would undo that."""
    status = "/v1/pools/cache/status"
    preview = admin.open("/pools/cache/shards/cache-0/failover")
    master = api("GET", status).json["shards"][0]["master"]["address"]
    assert preview.fields["master"] == master
    refused = preview.send("confirm", master="127.0.0.1:1")
    assert refused.reply.status_code == 409
    assert "The shard has another master since the preview" in refused.text
    assert refused.fields["master"] == master
    assert api("GET", status).json["shards"][0]["master"]["address"] == master
    assert "shard.failover" not in api("GET", "/v1/events?pool=cache").text


def test_a_change_of_a_pool_that_is_not_well_says_so(
    admin: Visitor, stack: LocalStack, api: Api
) -> None:
    """This is the last one: it leaves the shard without a replica."""
    status = "/v1/pools/cache/status"
    (shard,) = api("GET", status).json["shards"]
    replica = shard["replicas"][0]["address"]
    stack.process(replica).kill(signal.SIGKILL)
    until(lambda: api("GET", status).json["shards"][0]["state"] == "degraded")
    told = "shard cache-0 is degraded: it serves, and one more fault may take it down"
    preview = admin.open(SETTINGS).send("preview", set_command_timeout="3")
    assert f"Mind: {told}" in preview.text and replica in preview.text
    weight = admin.open("/pools/cache/shards/cache-0/weight").send("preview", weight="2")
    assert told in weight.text
    given = {"CACHEMESH_URL": stack.info["url"], "CACHEMESH_TOKEN": stack.token}
    _, out, _ = run_here(given, "pool", "set", "command_timeout=3", "--dry-run")
    assert f"warning: {told}" in out
