"""URLs and options of the client: what is accepted and refused, and that no secret is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cachemesh import CacheMesh, ConfigurationError
from cachemesh.discovery.bearer_token import read_token
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.url import parse_url


def test_the_three_forms() -> None:
    url = parse_url("cachemesh://meta1:7700,meta2/cache?decode_responses=true&socket_timeout=2", {})
    assert url.addresses == ("meta1:7700", "meta2:7700")
    assert (url.pool, url.shown) == ("cache", "cachemesh://meta1:7700,meta2:7700/cache")
    assert url.options == {"decode_responses": True, "socket_timeout": 2.0}
    sentinel = parse_url("cachemesh+sentinel://s1,[::1]:26380/cache", {"sentinel_timeout": "0.5"})
    assert sentinel.addresses == ("s1:26379", "[::1]:26380")
    assert sentinel.sentinel_options.timeout == 0.5
    assert parse_url("cachemesh+file:///etc/cachemesh/cache.json", {}).pool == (
        "/etc/cachemesh/cache.json"
    )


@pytest.mark.parametrize(("word", "value"), [("true", True), ("False", False), ("0", False)])
def test_switches_in_the_query_string(word: str, value: bool) -> None:
    url = parse_url(f"cachemesh://m/cache?decode_responses={word}&protocol=3", {})
    assert url.options == {"decode_responses": value, "protocol": 3}


def test_keyword_options_win_over_the_query_string() -> None:
    url = parse_url("cachemesh://m/cache?socket_timeout=2", {"socket_timeout": 3})
    assert url.options == {"socket_timeout": 3}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://localhost/0", "scheme 'redis' is not known"),
        ("cachemesh://", "Address ''"),
        ("cachemesh://m", "Pool name ''"),
        ("cachemesh://m/a/b", "Pool name 'a/b'"),
        ("cachemesh://m:x/cache", "Address 'm:x'"),
        ("cachemesh://m,,n/cache", "Address ''"),
        ("cachemesh://[::1/cache", "Address"),
        ("hunter2", "is not known"),
        ("cachemesh://user:hunter2@m/cache", "credentials before '@'"),
        ("cachemesh://m/cache?nope=1", "Unknown option 'nope'"),
        ("cachemesh://m/cache?host=x", "Unknown option 'host'"),
        ("cachemesh://m/cache?socket_timeout=x", "query string"),
        ("cachemesh://m/cache?sentinel_timeout=0", "sentinel_timeout"),
        ("cachemesh://m/cache?decode_responses=maybe", "true or false"),
        ("cachemesh://m/cache?cache_config=1", "cache_config is not offered"),
        ("cachemesh+file://", "names no file"),
    ],
)
def test_what_is_not_a_url_of_ours_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        CacheMesh.from_url(url)
    assert "hunter2" not in str(caught.value)


def test_from_env(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("t0p-secret\n")
    environ = {
        "CACHEMESH_URL": "cachemesh://m/cache",
        "CACHEMESH_TOKEN_FILE": str(token_file),
    }
    assert repr(CacheMesh.from_env(environ)) == (
        "<cachemesh.sync.client.CacheMesh(cachemesh://m:7700/cache)>"
    )
    with pytest.raises(ConfigurationError, match="CACHEMESH_URL is not set"):
        CacheMesh.from_env({})


def test_no_secret_shows() -> None:
    mesh = CacheMesh.from_url(
        "cachemesh://m/cache?password=hunter2&token=t0p-secret&sentinel_password=hunter3"
    )
    shown = (
        repr(mesh)
        + repr(mesh._core.url)
        + repr(mesh.connection_pool)
        + repr(mesh._core.url.make_source())
    )
    for secret in ("hunter2", "hunter3", "t0p-secret"):
        assert secret not in shown
    assert "t0p" not in repr(MetaserverClient(["m"], "t0p-secret"))


def test_tokens(tmp_path: Path) -> None:
    empty, other = tmp_path / "empty", tmp_path / "other"
    empty.write_text("\n")
    other.write_text("a b")
    assert read_token(None, None, {}) is None
    assert read_token("t", None, {"CACHEMESH_TOKEN": "u"}) == "t"
    assert read_token(None, None, {"CACHEMESH_TOKEN": "u"}) == "u"
    for path in (empty, other, tmp_path / "none"):
        with pytest.raises(ConfigurationError, match=str(path)):
            read_token(None, str(path))


def test_nothing_is_connected_before_the_first_command() -> None:
    with CacheMesh.from_url("cachemesh://127.0.0.1:1/cache") as mesh:
        encoder: Any = mesh.get_encoder()  # untyped in redis-py
        assert encoder.encode("a") == b"a"


@pytest.mark.parametrize("name", ["socket_timeout", "socket_connect_timeout"])
@pytest.mark.parametrize("value", ["1", True, [1]])
def test_a_time_limit_that_is_no_number_is_refused_at_once(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"Option {name} takes seconds"):
        parse_url("cachemesh://meta/cache", {name: value})


def test_a_time_limit_may_stand_in_the_url_or_be_none() -> None:
    assert parse_url("cachemesh://meta/cache?socket_timeout=1", {}).options["socket_timeout"] == 1.0
    assert parse_url("cachemesh://meta/cache", {"socket_timeout": None}).options == {
        "socket_timeout": None
    }


def test_zookeeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login = tmp_path / "login"
    login.write_text("app:hunter2\n")
    url = parse_url(f"cachemesh+zk://z1,z2:2182/a/b/cache?zookeeper_auth_file={login}", {})
    assert url.shown == "cachemesh+zk://z1:2181,z2:2182/a/b/cache"
    assert url.pool == "cache"
    assert "hunter2" not in repr(url) + repr(url.make_source())
    assert parse_url("cachemesh+zk://z/cache", {}).shown == "cachemesh+zk://z:2181/cachemesh/cache"
    for options in ({"zookeeper_auth": "hunter2"}, {"zookeeper_ssl": "perhaps"}):
        with pytest.raises(ConfigurationError, match="zookeeper_") as caught:
            parse_url("cachemesh+zk://z/cache", options)
        assert "hunter2" not in str(caught.value)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'cachemesh\[zookeeper\]'"):
        parse_url("cachemesh+zk://z/cache", {})
