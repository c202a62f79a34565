"""Every setting of a pool acts on running clients of both kinds, on the connections they have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Any

import pytest

from cachemesh.cli import main as cli
from cachemesh.core.errors import CacheMeshError, LeaseLostError
from cachemesh.core.pool.settings import SETTINGS
from cachemesh.local import LocalStack
from tests.support.both_clients import CLIENTS, Caller, calling
from tests.support.metaserver_process import Api, Metaserver
from tests.support.plain_redis import direct
from tests.support.waiting import until

NO_FAILOVER = 600_000  # milliseconds
LONG = 600.0  # seconds; a test that waits so long fails


@dataclass
class Site:
    """A pool of one shard with a replica, and a running client of each kind."""

    stack: LocalStack
    api: Api
    apps: list[Caller]
    pool: str = "cache"

    def set(self, **settings: object) -> None:
        """Change settings, and wait until both clients act on the change."""
        path = f"/v1/pools/{self.pool}/settings"
        changed = self.api("PATCH", path, {"settings": settings})
        assert changed.status == 200, changed.text
        version = changed.json["version_after"]
        until(lambda: all(app.mesh._core.acts_on(version) for app in self.apps))

    @property
    def master(self) -> Any:
        return self.stack.process(self.stack.info["shards"][0]["master"])

    @property
    def replica(self) -> Any:
        return self.stack.process(self.stack.info["shards"][0]["replicas"][0])

    def each(self, use: Callable[[Any], Any]) -> list[Any]:
        """Return the results of both clients, or the errors that they raised."""
        return [app.timed(use)[0] for app in self.apps]

    def works(self) -> None:
        """Wait until both clients are served, again."""
        until(lambda: self.each(lambda mesh: mesh.get("k")) == [b"v", b"v"])


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, sentinels=1, dashboard=False, down_after_ms=NO_FAILOVER) as running:
        yield running


@pytest.fixture
def site(stack: LocalStack) -> Iterator[Site]:
    with ExitStack() as clients:
        url = stack.info["url"]
        apps = [clients.enter_context(calling(kind, url, token=stack.token)) for kind in CLIENTS]
        found = Site(stack, Api(stack.info["metaservers"][0], stack.token), apps)
        apps[0](lambda mesh: mesh.set("k", "v"))
        found.works()
        yield found
        found.master.resume()
        found.set(**dict.fromkeys(SETTINGS))


def connection_ids(site: Site) -> list[Any]:
    return site.each(lambda mesh: mesh.execute_command("CLIENT ID", target="cache-0"))


def app_connections(site: Site) -> set[str]:
    """Return the ids of the clients' connections to the master."""
    names = {f"cachemesh:{app.mesh._core.client_id()}" for app in site.apps}
    with direct(site.master) as client:
        every = client.client_list()
    return {each["id"] for each in every if any(each["name"].startswith(name) for name in names)}


def command_timeout(site: Site) -> None:
    site.set(command_timeout=LONG)
    site.works()
    before = app_connections(site)
    assert before
    site.set(command_timeout=0.3)
    site.works()
    assert app_connections(site) == before, "no connection was made anew"
    site.master.pause()
    errors = site.each(lambda mesh: mesh.get("k"))
    assert all(isinstance(error, CacheMeshError) for error in errors), errors


def connect_timeout(site: Site) -> None:
    site.set(command_timeout=LONG, connect_timeout=LONG)
    site.works()
    site.set(connect_timeout=0.2)
    with direct(site.master) as client:
        for each in app_connections(site):
            client.client_kill_filter(_id=each)
    site.master.pause()  # the kernel takes connections for it, but nobody answers
    errors = site.each(lambda mesh: mesh.get("k"))
    assert all(isinstance(error, CacheMeshError) for error in errors), errors


def poll_interval(site: Site) -> None:
    site.set(poll_interval=LONG)
    site.set(poll_interval=0.1)
    for app in site.apps:
        until(partial(_asks_on, app.mesh._core.membership, app.mesh._core.membership.calls + 5))


def _asks_on(membership: Any, calls: int) -> bool:
    return bool(membership.calls > calls)


def retry_writes(site: Site) -> None:
    for again in (False, True):
        site.set(retry_writes=again)
        for app in site.apps:
            app.warm(lambda mesh: mesh.incr("n"))
            came: list[Any] = []
            call = Thread(target=_incr_into, args=(app, came))
            with direct(site.master) as client:
                client.client_pause(60_000, all=False)
                call.start()
                client.client_kill_filter(_id=until(partial(_blocked, client))[0])
                client.client_unpause()
            call.join()
            assert isinstance(came[0], int) if again else isinstance(came[0], CacheMeshError), came


def _incr_into(app: Caller, came: list[Any]) -> None:
    came.append(app.timed(lambda mesh: mesh.incr("n"))[0])


def _blocked(client: Any) -> list[str]:
    return [each["id"] for each in client.client_list() if "b" in each["flags"]]


def on_error(site: Site) -> None:
    site.set(command_timeout=0.3)
    site.master.pause()
    errors = site.each(lambda mesh: mesh.get("k"))
    assert all(isinstance(error, CacheMeshError) for error in errors), errors
    site.set(on_error="miss")
    assert site.each(lambda mesh: mesh.get("k")) == [None, None]


def read_from(site: Site) -> None:
    assert reads_at(site, site.replica) == [False, False]
    site.set(read_from="replica")
    until(lambda: reads_at(site, site.replica) == [True, True])
    site.set(read_from="master")
    assert reads_at(site, site.replica) == [False, False]


def reads_at(site: Site, process: Any) -> list[bool]:
    """Return whether the reads of each client go to this instance."""
    found = []
    with direct(process) as client:
        for app in site.apps:
            client.config_resetstat()
            app.warm(lambda mesh: mesh.get("k"))
            found.append("cmdstat_get" in client.info("commandstats"))
    return found


def max_lag(site: Site) -> None:
    site.set(read_from="prefer_replica", max_lag=LONG)
    # A replica serves once it was found level with its master, which a cut link no longer allows.
    until(lambda: reads_at(site, site.replica) == [True, True])
    with direct(site.master) as client:
        client.wait(1, 60_000)
        client.acl_setuser("default", True, commands=["-psync", "-sync"], nopass=True)
        client.client_kill_filter(_type="replica")
        until(lambda: client.info("replication")["connected_slaves"] == 0)
        client.set("lagging", "new")
        try:
            until(lambda: site.each(lambda mesh: mesh.get("lagging")) == [None, None])
            site.set(max_lag=0.3)
            until(lambda: site.each(lambda mesh: mesh.get("lagging")) == [b"new", b"new"])
        finally:
            client.acl_setuser("default", True, commands=["+psync", "+sync"], nopass=True)


BY_SETTING: dict[str, Callable[[Site], None]] = {
    "command_timeout": command_timeout,
    "connect_timeout": connect_timeout,
    "poll_interval": poll_interval,
    "retry_writes": retry_writes,
    "on_error": on_error,
    "read_from": read_from,
    "max_lag": max_lag,
}


@pytest.mark.parametrize("setting", BY_SETTING)
def test_it_acts_on_running_clients(site: Site, setting: str) -> None:
    BY_SETTING[setting](site)


def test_no_setting_is_left_out() -> None:
    assert {*BY_SETTING, "on_lease_lost"} == SETTINGS.keys()


def test_on_lease_lost_acts_on_running_clients(
    stack: LocalStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    metaserver = Metaserver(tmp_path_factory.mktemp("meta"), "--lease", "2")
    with ExitStack() as at_end:
        at_end.callback(metaserver.stop)
        api = metaserver.start()
        shards = [{"name": "leased-0", "master": str(stack.start_redis().address)}]
        body = {"pool": "leased", "sentinels": stack.info["sentinels"], "shards": shards}
        made = api("POST", "/v1/pools", body)
        assert made.status == 201, made.text
        url = f"cachemesh://{api.address}/leased"
        apps = [at_end.enter_context(calling(kind, url, token=api.token)) for kind in CLIENTS]
        apps[0](lambda mesh: mesh.set("k", "v"))
        site = Site(stack, api, apps, "leased")
        site.works()
        site.set(on_lease_lost="refuse")
        metaserver.stop()
        refused = (LeaseLostError, LeaseLostError)
        until(lambda: all(map(isinstance, site.each(lambda mesh: mesh.get("k")), refused)))


def test_each_client_is_shown_with_what_it_acts_on(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    options = {"command_timeout": 9, "socket_connect_timeout": 0.5, "read_from": "prefer_replica"}
    url, token = site.stack.info["url"], site.stack.token
    monkeypatch.setenv("CACHEMESH_URL", url)
    monkeypatch.setenv("CACHEMESH_TOKEN", token)
    with calling("sync", f"{url}?on_lease_lost=serve", token=token, **options) as own:
        own(lambda mesh: mesh.get("k"))
        site.set(on_error="miss", command_timeout=2.0)
        client = own.mesh._core.client_id()
        assert client == site.apps[0].mesh._core.client_id(), "one process is one client"
        overridden = {
            "command_timeout": "9, pool",
            "connect_timeout": "0.5, pool",
            "on_lease_lost": "pool, serve",
            "read_from": "pool, prefer_replica",
        }
        until(lambda: settings_told(site) == {client: overridden})
        assert cli.run(["client", "show", client, "-o", "json"]) == 0
        shown = json.loads(capsys.readouterr().out)
    acts_on = {each["setting"]: (each["value"], each["from"]) for each in shown["settings"]}
    assert acts_on == {
        **{name: (setting.default, "default") for name, setting in SETTINGS.items()},
        **{name: (value, "client") for name, value in overridden.items()},
        "on_error": ("miss", "pool"),
    }
    assert shown["client"]["version"] == shown["version"]
    site.set(on_error=None)
    until(lambda: settings_told(site) == {client: {}})
    assert cli.run(["client", "show", client]) == 0
    assert "command_timeout" in capsys.readouterr().out
    assert cli.run(["client", "show", "nobody"]) == 4
    assert "client list" in capsys.readouterr().err


def settings_told(site: Site) -> dict[str, Any]:
    clients = site.api("GET", "/v1/pools/cache/clients").json["clients"]
    return {each["client"]: each["settings"] for each in clients}


def test_what_blocks_goes_on_with_the_former_timeouts(site: Site) -> None:
    popped = list[Any]()

    def pop(app: Caller) -> None:
        popped.append(app(lambda mesh: mesh.blpop(["list"], timeout=LONG)))

    with direct(site.master) as plain:
        for app in site.apps:
            thread = Thread(target=pop, args=(app,), daemon=True)
            thread.start()
            until(lambda: plain.info("clients")["blocked_clients"] == 1)
            site.set(command_timeout=0.1)
            assert plain.blpop(["nothing"], timeout=0.5) is None  # longer than the new timeout
            assert plain.info("clients")["blocked_clients"] == 1
            plain.rpush("list", "element")
            thread.join()
            site.set(command_timeout=LONG)
    assert popped == [(b"list", b"element")] * len(site.apps)


@pytest.mark.parametrize("kind", CLIENTS)
def test_the_first_command_of_a_client_goes_by_the_settings(site: Site, kind: str) -> None:
    site.set(on_error="miss", command_timeout=0.5)
    site.master.pause()
    with calling(kind, site.stack.info["url"], token=site.stack.token) as app:
        assert app(lambda mesh: mesh.get("k")) is None
