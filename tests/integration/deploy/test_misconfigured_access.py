"""Logins, rights and persistence that are configured wrong, where `deploy/redis` was right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cachemesh.local.doctor.check import Check
from cachemesh.local.doctor.pool import examine_pool
from tests.support.deployed_redis import PASSWORDS, DeployedRedis, deployed_redis, metaserver_logins
from tests.support.metaserver_process import Api, Metaserver
from tests.support.misconfigured import await_rules, await_well, findings, rules, told
from tests.support.waiting import until

WELL = "user 'app' may do what clients do, at 5 servers"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedRedis]:
    with deployed_redis(tmp_path_factory.mktemp("deployed")) as site:
        yield site


@pytest.fixture(scope="module")
def metaserver(site: DeployedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A metaserver with a pool of one shard on the site."""
    place = tmp_path_factory.mktemp("metaserver")
    sentinels = [site.start_sentinel() for _ in range(3)]
    shards = [{"name": "cache-0", "master": site.start_shard()}]
    with Metaserver(place, *metaserver_logins(place)) as api:
        body = {"pool": "cache", "shards": shards, "sentinels": sentinels}
        made = api("POST", "/v1/pools", body)
        assert made.status == 201, made.text
        yield api


@pytest.fixture
def api(metaserver: Api) -> Api:
    await_well(metaserver)
    return metaserver


@contextmanager
def set_at(site: DeployedRedis, port: int, name: str, value: str) -> Iterator[None]:
    """Set a parameter of an instance for the block."""
    before = site.ask(port, "CONFIG", "GET", name)
    former = before[name] if isinstance(before, dict) else before[1]
    site.ask(port, "CONFIG", "SET", name, value)
    try:
        yield
    finally:
        site.ask(port, "CONFIG", "SET", name, former)


@contextmanager
def lacking(
    site: DeployedRedis, ports: list[int], *rights: str, user: str = "metaserver"
) -> Iterator[None]:
    """Take rights from a user for the block."""
    for port in ports:
        site.ask(port, "ACL", "SETUSER", user, *(f"-{right}" for right in rights))
    try:
        yield
    finally:
        for port in ports:
            site.ask(port, "ACL", "SETUSER", user, *(f"+{right}" for right in rights))
            site.ask(port, "ACL", "LOG", "RESET")


def test_nothing_is_found_and_nothing_denied_where_the_files_were_copied(
    site: DeployedRedis, api: Api
) -> None:
    assert findings(api) == []
    assert site.denied() == []


def test_a_master_that_could_not_follow(site: DeployedRedis, api: Api) -> None:
    master = site.instances[0]
    with set_at(site, master, "masterauth", ""):
        found = await_rules(api, "masterauth-missing")["masterauth-missing"]
        assert found["at"] == f"127.0.0.1:{master}"
        assert f"127.0.0.1:{site.instances[1]} want a login" in found["configured"]
        assert "CONFIG SET masterauth PASSWORD" in found["next_step"]
    await_well(api)


def test_no_answer_has_a_secret(site: DeployedRedis, api: Api) -> None:
    with set_at(site, site.instances[0], "timeout", "300"):
        text = api("GET", "/v1/pools/cache/findings").text
    assert "idle-timeout" in text
    assert not any(password in text for password in PASSWORDS.values())


@pytest.mark.parametrize(
    ("rights", "fails"),
    [
        (("scan",), "moving keys"),
        (("client|list", "client|kill"), "moving keys"),
        (("replicaof",), "planned failovers"),
        (("slaveof",), "failovers by Sentinel"),
        (("multi",), "planned failovers"),
    ],
    ids=str,
)
def test_rights_that_the_metaserver_lacks(
    site: DeployedRedis, api: Api, rights: tuple[str, ...], fails: str
) -> None:
    master = site.instances[0]
    with lacking(site, [master], *rights):
        found = await_rules(api, "rights-missing")["rights-missing"]
        wanted = " ".join(f"+{right}" for right in rights)
        assert found["configured"] == f"user metaserver lacks {wanted}"
        assert fails in found["impact"]
        assert f"add {wanted} to the end of user metaserver in " in found["next_step"]
        assert found["next_step"].endswith("ACL LOAD")
    await_well(api)


def test_rights_that_the_metaserver_lacks_at_a_sentinel(site: DeployedRedis, api: Api) -> None:
    port = site.sentinels[0]
    with lacking(site, [port], "sentinel|set"):
        found = await_rules(api, "sentinel-rights-missing")["sentinel-rights-missing"]
        assert found["at"] == f"127.0.0.1:{port}"
        assert "+sentinel|set" in found["configured"]
    await_well(api)


def rights_of_app(api: Api) -> list[Check]:
    """Return what the doctor says about the rights of an app's user."""
    login = f"username=app&password={PASSWORDS['app']}"
    at_sentinels = f"sentinel_username=app&sentinel_password={PASSWORDS['app']}"
    url = f"cachemesh://{api.address}/cache?{login}&{at_sentinels}"
    assert api.token is not None
    checks = examine_pool(url, None, {"CACHEMESH_TOKEN": api.token})
    return [check for check in checks if check.name == "rights"]


@pytest.mark.parametrize(
    ("rights", "state", "fails"),
    [
        (("migrate", "restore"), "warn", "keys that a resize moves are not pulled"),
        (("info",), "warn", "replicas are not read"),
        (("get",), "fail", "it can read nothing"),
    ],
    ids=str,
)
def test_rights_that_an_app_lacks(
    site: DeployedRedis, api: Api, rights: tuple[str, ...], state: str, fails: str
) -> None:
    (before,) = until(lambda: rights_of_app(api))
    assert (before.state, before.detail) == ("ok", WELL)
    with lacking(site, site.instances[:2], *rights, user="app"):
        (check,) = rights_of_app(api)
        assert check.state == state
        assert fails in check.detail
        assert all(f"127.0.0.1:{port}" in check.detail for port in site.instances[:2])
        assert check.next_step and f"ACL SETUSER app +{rights[0]}" in check.next_step


def test_rights_that_an_app_lacks_at_a_sentinel(site: DeployedRedis, api: Api) -> None:
    with lacking(site, site.sentinels[:1], "subscribe", user="app"):
        (check,) = rights_of_app(api)
        assert check.state == "warn"
        assert f"+subscribe at 127.0.0.1:{site.sentinels[0]}: it hears" in check.detail


def test_config_get_that_is_refused_is_said_once(site: DeployedRedis, api: Api) -> None:
    master, replica = site.instances[:2]
    with (
        set_at(site, master, "timeout", "300"),
        lacking(site, [master, replica], "config|get"),
    ):
        until(lambda: rules(api) == {"rights-missing"})
        (missing,) = told(api)["not_checked"]
        assert set(missing["at"]) == {f"127.0.0.1:{port}" for port in (master, replica)}
        assert "CONFIG GET is refused" in missing["reason"]
        assert "idle-timeout" in missing["rules"]
        assert "no-maxmemory" not in missing["rules"]
    await_well(api)


def test_a_sentinel_that_cannot_log_in(site: DeployedRedis, api: Api) -> None:
    """The two others still know that the master is up: nothing fails over."""
    port = site.sentinels[0]
    site.ask(port, "SENTINEL", "SET", "cache-0", "auth-user", "nobody")
    try:
        found = until(
            lambda: [each for each in findings(api) if each["rule"] == "sentinel-cut-off"]
        )
        worst = found[0]
        assert (worst["severity"], worst["at"]) == ("error", f"127.0.0.1:{port}")
        assert f"master 127.0.0.1:{site.instances[0]}" in worst["configured"]
        assert "SENTINEL SET cache-0 auth-user metaserver" in worst["next_step"]
    finally:
        site.ask(port, "SENTINEL", "SET", "cache-0", "auth-user", "metaserver")
    await_well(api)


def test_sentinels_that_do_not_hear_of_each_other(site: DeployedRedis, api: Api) -> None:
    with lacking(site, site.instances[:2], "publish"):
        for port in site.sentinels:
            site.ask(port, "SENTINEL", "RESET", "cache-0")

        def seen() -> list[dict[str, Any]]:
            return [each for each in findings(api) if each["rule"] == "sentinel-unknown"]

        found = until(seen)
        assert {each["severity"] for each in found} == {"error"}
        assert "it does not know 127.0.0.1:" in found[0]["configured"]
    await_well(api)


def test_a_save_that_failed(site: DeployedRedis, api: Api, tmp_path: Path) -> None:
    """The last but one: the replica cannot be stopped any more without its directory."""
    replica = site.start_replica(
        f"127.0.0.1:{site.instances[0]}", "enable-protected-configs yes", 'save "3600 1"'
    )
    port = int(replica.rpartition(":")[2])
    gone = tmp_path / "gone"
    gone.mkdir()
    site.ask(port, "CONFIG", "SET", "dir", str(gone))
    gone.rmdir()
    site.ask(port, "BGSAVE")
    until(lambda: site.ask(port, "INFO", "persistence")["rdb_last_bgsave_status"] == "err")
    found = await_rules(api, "writes-stop-on-save-error")["writes-stop-on-save-error"]
    assert (found["at"], found["severity"]) == (replica, "error")
    assert "MISCONF" in found["impact"]
    with set_at(site, port, "stop-writes-on-bgsave-error", "no"):
        until(lambda: rules(api) == set())
    site.ask(port, "CONFIG", "SET", "save", "")


def test_a_command_that_was_renamed(site: DeployedRedis, api: Api) -> None:
    replica = site.start_replica(f"127.0.0.1:{site.instances[0]}", 'rename-command CONFIG ""')
    found = await_rules(api, "command-renamed")["command-renamed"]
    assert (found["at"], found["severity"]) == (replica, "error")
    assert "CONFIG: unknown command" in found["configured"]
    (missing,) = told(api)["not_checked"]
    assert missing["at"] == [replica]
