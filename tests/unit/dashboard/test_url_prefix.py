"""The dashboard below a path: links, redirects and cookies have it."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from dashboard.app import create_app
from dashboard.config import DashboardConfig
from dashboard.url_prefix import checked_prefix


def client_of(prefix: str = "", forwarded: bool = False) -> FlaskClient:
    config = DashboardConfig(("127.0.0.1:1",), url_prefix=prefix, forwarded_prefix=forwarded)
    return create_app(config).test_client()


@pytest.mark.parametrize(
    ("text", "prefix"), [("", ""), ("/", ""), ("/a", "/a"), ("/a/", "/a"), ("/a-b/c.d", "/a-b/c.d")]
)
def test_a_prefix(text: str, prefix: str) -> None:
    assert checked_prefix(text) == prefix


@pytest.mark.parametrize(
    "text", ["a", "//evil.example", "/a//b", "/..", "/a/../b", "/a?b", "/a b", "/" + "a" * 300]
)
def test_no_prefix(text: str) -> None:
    with pytest.raises(ValueError, match="write it like /cachemesh"):
        checked_prefix(text)


@pytest.mark.parametrize("asked", ["/ops/cache", ""])
def test_all_of_it_is_below(asked: str) -> None:
    """Also where the proxy has taken the prefix away."""
    client = client_of("/ops/cache")
    sent = client.get(f"{asked}/")
    assert sent.headers["Location"].startswith("/ops/cache/login")
    page = client.get(f"{asked}/login")
    assert page.status_code == 200
    assert "; Path=/ops/cache/login" in page.headers["Set-Cookie"]
    links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)
    assert links and all(link.startswith("/ops/cache/") for link in links)
    assert client.get(f"{asked}/static/app.css").status_code == 200


def test_what_only_begins_like_it_is_another_path() -> None:
    assert client_of("/ops").get("/opsy/login").status_code == 404


def test_the_proxy_tells_the_prefix() -> None:
    client = client_of(forwarded=True)
    told = {"X-Forwarded-Prefix": "/ops"}
    assert "; Path=/ops/login" in client.get("/login", headers=told).headers["Set-Cookie"]
    for bad in ("//evil.example", "javascript:", "/a\\b"):
        cookie = client.get("/login", headers={"X-Forwarded-Prefix": bad}).headers["Set-Cookie"]
        assert "; Path=/login" in cookie


def test_a_browser_cannot_tell_it() -> None:
    told = {"X-Forwarded-Prefix": "/evil"}
    for prefix in ("", "/ops"):
        cookie = client_of(prefix).get("/login", headers=told).headers["Set-Cookie"]
        assert f"; Path={prefix}/login" in cookie
