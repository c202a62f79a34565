"""Clients that `with_options` makes, and settings that change while clients run."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import threading
import weakref
from collections.abc import Iterator
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest

import cachemesh
from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.cli import main as cli
from cachemesh.cli.errors import ExitCode
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from tests.support.both_clients import CLIENTS, Caller, calling
from tests.support.movable_pool import MovablePool
from tests.support.plain_redis import direct
from tests.support.waiting import until

NOWHERE = ("127.0.0.1", 1)


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, spares=1, replicas=0, sentinels=1, dashboard=False) as running:
        yield running


@pytest.fixture
def api(stack: LocalStack) -> Iterator[MetaserverClient]:
    client = MetaserverClient(stack.info["metaservers"], stack.token)
    yield client
    defaults = dict.fromkeys(("on_error", "retry_writes", "command_timeout"))
    client.request("PATCH", "/v1/pools/cache/settings", {"settings": defaults})


def joined(kind: str, stack: LocalStack, **options: Any) -> Any:
    return calling(kind, stack.info["url"], token=stack.token, **options)


@pytest.mark.parametrize("kind", CLIENTS)
def test_the_first_use_of_a_client_may_be_a_views(kind: str, tmp_path: Path) -> None:
    with MovablePool({"cache-0": NOWHERE}, tmp_path) as site, calling(kind, site.url) as caller:
        view = caller.mesh.with_options(on_error="miss")
        assert caller.on(view, lambda mesh: mesh.get("k")) is None
        with pytest.raises(cachemesh.ShardUnavailableError):
            caller(lambda mesh: mesh.get("k"))
        assert caller.on(view, lambda mesh: mesh.mget("k", "l")) == [None, None]
        assert caller.on(view, lambda m: m.pipeline().get("k").set("k", 1).execute()) == [None] * 2
        assert view.health()["cache-0"].misses == caller.health().misses == 3
        assert caller.health().dropped == 1


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_view_shares_and_nests(kind: str, stack: LocalStack) -> None:
    with joined(kind, stack) as caller:
        caller(lambda mesh: mesh.set("k", "v"))
        (first, *_) = stack.info["shards"]
        with direct(stack.process(first["master"])) as server:
            before = len(server.client_list())
            views = [caller.mesh.with_options(retry_writes=True) for _ in range(20)]
            for view in views:
                assert isinstance(view, CacheMesh if kind == "sync" else AsyncCacheMesh)
                caller.on(view, lambda mesh: mesh.mget(*map(str, range(20))))
            assert len(server.client_list()) <= before + 1
        nested = views[0].with_options(on_error="miss").with_options(retry_writes=False)
        assert (nested._policy.retry_writes, nested._policy.misses) == (False, True)
        assert views[0]._policy.retry_writes
        assert not caller.mesh._policy.retry_writes


class OwnMesh(CacheMesh):
    """A client as an app may subclass it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.set_response_callback("GET", lambda reply, **_: ("own", reply))


def test_a_view_is_of_its_clients_class_with_attributes_of_its_own(stack: LocalStack) -> None:
    mesh: Any = OwnMesh.from_url(stack.info["url"], token=stack.token)
    view = mesh.with_options(on_error="miss")
    assert type(view) is OwnMesh
    assert view.connection_pool is mesh.connection_pool
    mesh.set("k", "v")
    assert view.get("k") == mesh.get("k") == ("own", b"v")
    view.set_response_callback("GET", lambda reply, **_: reply)
    assert mesh.get("k") == b"v", "callbacks are shared, whoever sets them"
    vars(view)["note"] = "the view's"
    assert not hasattr(mesh, "note")
    mesh.close()


@pytest.mark.parametrize("kind", CLIENTS)
def test_connections_last_as_long_as_a_client_that_shares_them(
    kind: str, stack: LocalStack
) -> None:
    with joined(kind, stack) as caller:
        view = caller.mesh.with_options(on_error="miss")
        twin = copy.copy(caller.mesh)
        caller.on(view, lambda mesh: mesh.set("k", "v"))
        core = weakref.ref(view._core)
        caller.mesh = None
        gc.collect()
        assert caller.on(view, lambda mesh: mesh.get("k")) == b"v"
        assert caller.on(twin, lambda mesh: mesh.get("k")) == b"v"
        del view
        gc.collect()
        assert caller.on(twin, lambda mesh: mesh.get("k")) == b"v", "it follows the pool itself"
        caller.mesh = twin
        del twin
        caller.on(caller.mesh, methodcaller("close" if kind == "sync" else "aclose"))
        assert core() is not None, "the twin holds it, to follow the pool together"


@pytest.mark.parametrize("kind", CLIENTS)
def test_closing_a_view_closes_nothing_but_what_it_owns(kind: str, stack: LocalStack) -> None:
    with joined(kind, stack) as caller:
        close = "close" if kind == "sync" else "aclose"
        caller(lambda mesh: mesh.set("k", "v"))
        view = caller.mesh.with_options(on_error="miss")
        route_table = caller.mesh._core.route_table
        caller.on(view, methodcaller(close))
        del view
        gc.collect()
        assert caller.mesh._core.route_table is route_table
        own = copy.copy(caller.mesh.with_options(on_error="miss"))
        assert caller.on(own, lambda mesh: mesh.get("k")) == b"v"
        assert own._policy.misses
        caller.on(own, methodcaller(close))
        assert own._core.route_table is None
        assert caller(lambda mesh: mesh.get("k")) == b"v"


@pytest.mark.parametrize("kind", CLIENTS)
def test_copies_and_pickles_as_the_client(kind: str, stack: LocalStack) -> None:
    with joined(kind, stack) as caller:
        view = caller.mesh.with_options(on_error="miss")
        for made in (caller.mesh, view):
            with pytest.raises((TypeError, pickle.PicklingError), match="pickle"):
                pickle.dumps(made)
            assert stack.token not in repr(made)
        assert repr(view) == repr(caller.mesh)


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize(
    "options",
    [
        {"on_error": "maybe"},
        {"on_error": None},
        {"retry_writes": "perhaps"},
        {"retry_writes": 2},
        {"max_lag": 0},
        {"max_lag": "nan"},
        {"read_from": ["master"]},
        {"command_timeout": 1},
        {"nope": 1},
    ],
    ids=str,
)
def test_what_a_view_does_not_take(options: dict[str, Any], kind: str, stack: LocalStack) -> None:
    with (
        joined(kind, stack) as caller,
        pytest.raises(cachemesh.ConfigurationError, match=next(iter(options))),
    ):
        caller.mesh.with_options(**options)


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("on_error=maybe", {}),
        ("retry_writes=perhaps", {}),
        ("command_timeout=0", {}),
        ("command_timeout=fast", {}),
        ("command_timeout=inf", {}),
        ("", {"command_timeout": -1}),
        ("", {"command_timeout": True}),
        ("", {"connect_timeout": None}),
        ("", {"on_error": b"miss"}),
    ],
)
def test_what_a_url_does_not_take(query: str, options: dict[str, Any]) -> None:
    name = query.partition("=")[0] or next(iter(options))
    with pytest.raises(cachemesh.ConfigurationError, match=f"{name} takes"):
        CacheMesh.from_url(f"cachemesh://127.0.0.1:1/cache?{query}", **options)


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("true", True), ("Yes", True), ("0", False), ("no", False)]
)
def test_how_a_url_says_yes(text: str, value: bool) -> None:
    mesh = CacheMesh.from_url(f"cachemesh://127.0.0.1:1/cache?retry_writes={text}")
    assert mesh.retry_writes is value


@pytest.mark.parametrize(
    "settings",
    [
        {"on_error": "maybe"},
        {"retry_writes": "true"},
        {"retry_writes": 1},
        {"command_timeout": "5"},
        {"command_timeout": 0},
        {"command_timeout": True},
        {"read_from": "nowhere"},
    ],
    ids=str,
)
def test_what_the_api_does_not_take(settings: dict[str, Any], api: MetaserverClient) -> None:
    with pytest.raises(cachemesh.MetaserverError, match=next(iter(settings))) as caught:
        api.request("PATCH", "/v1/pools/cache/settings", {"settings": settings})
    assert caught.value.status in (400, 422)


def test_the_command_line(
    stack: LocalStack,
    api: MetaserverClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in stack.info["env"].items():
        monkeypatch.setenv(name, value)
    wanted = ("on_error=miss", "retry_writes=true", "command_timeout=1.5")
    assert cli.run(["pool", "set", *wanted, "--dry-run"]) == ExitCode.PLAN_HAS_CHANGES
    assert cli.run(["pool", "set", *wanted]) == 0
    shown = capsys.readouterr().out
    assert "on_error to miss, retry_writes to true, command_timeout to 1.5" in shown
    settings = api.request("GET", "/v1/pools/cache")["settings"]
    assert settings == {"on_error": "miss", "retry_writes": True, "command_timeout": 1.5}
    for wrong in ("on_error=maybe", "retry_writes=perhaps", "command_timeout=never", "nope=1"):
        assert cli.run(["pool", "set", wrong]) != 0
        assert wrong.partition("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize("kind", CLIENTS)
def test_settings_reach_clients_and_views_that_run(
    kind: str, stack: LocalStack, api: MetaserverClient
) -> None:
    with joined(kind, stack) as caller, joined(kind, stack, on_error="raise") as own:
        for each in (caller, own):
            each(lambda mesh: mesh.ping())
        view = caller.mesh.with_options(retry_writes=False)
        wanted = {"on_error": "miss", "retry_writes": True, "command_timeout": 0.7}
        api.request("PATCH", "/v1/pools/cache/settings", {"settings": wanted})
        for each in (caller, own):
            until(partial(retries, each))
        policy = caller.mesh._policy
        assert (policy.misses, policy.retry_writes, policy.timeouts.reply) == (True, True, 0.7)
        assert (view._policy.misses, view._policy.retry_writes) == (True, False)
        assert not own.mesh._policy.misses, "an option wins"
        assert own.mesh._policy.retry_writes
        process = stack.process(stack.master_of("cache-0"))
        key = next(f"s{i}" for i in range(99) if caller.mesh.shard_for(f"s{i}") == "cache-0")
        process.pause()
        try:
            for mesh in (caller.mesh, view):
                assert caller.on(mesh, lambda mesh: mesh.get(key)) is None
            with pytest.raises(cachemesh.ShardTimeoutError):
                own(lambda mesh: mesh.get(key))
        finally:
            process.resume()


def has_shards(view: Any, count: int) -> bool:
    return len(view.health()) == count


def retries(caller: Caller) -> bool:
    return bool(caller.mesh.retry_writes)


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_view_survives_changes_of_the_pool(
    kind: str, stack: LocalStack, api: MetaserverClient
) -> None:
    with joined(kind, stack) as caller:
        view = caller.mesh.with_options(on_error="miss")
        caller.on(view, lambda mesh: mesh.set("k", "v"))
        spare = {"name": "late", "master": stack.info["spares"][0]["master"]}
        for change in (("POST", "/v1/pools/cache/shards", spare), ("DELETE", None, None)):
            method, path, body = change
            api.request(method, path or "/v1/pools/cache/shards/late", body)
            until(partial(has_shards, view, 3 if method == "POST" else 2))
            keys = [f"v{i}" for i in range(30)]
            caller.on(view, methodcaller("mset", dict.fromkeys(keys, 1)))
            assert caller.on(view, methodcaller("exists", *keys)) == 30
            until(lambda: not api.request("GET", "/v1/pools/cache/status")["sweeps"])


def test_after_a_fork_under_load(stack: LocalStack) -> None:
    mesh = CacheMesh.from_url(stack.info["url"], token=stack.token, decode_responses=True)
    view = mesh.with_options(on_error="miss")
    stop = threading.Event()

    def load() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            view.set("f", number)
            mesh.get("f")

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for number in range(8):
        child = os.fork()
        if not child:
            ok = False
            try:
                name = f"child{number}"
                for turn in range(50):
                    view.set(name, turn)
                    ok = view.get(name) == mesh.get(name) == str(turn)
                    if not ok:
                        break
            finally:
                os._exit(0 if ok else 1)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    stop.set()
    for thread in threads:
        thread.join()
    mesh.close()
    assert codes == [0] * 8


def test_a_view_goes_with_its_client_through_loops(stack: LocalStack) -> None:
    mesh: Any = AsyncCacheMesh.from_url(stack.info["url"], token=stack.token)
    view = mesh.with_options(retry_writes=True)

    async def use(number: int) -> None:
        assert await view.set("loop", number)
        assert await mesh.get("loop") == str(number).encode()
        await mesh.aclose()
        assert await view.get("loop") == str(number).encode()
        await mesh.aclose()

    for number in range(3):
        asyncio.run(use(number))
