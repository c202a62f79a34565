"""Views of either kind of client: what closes what."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachemesh.local import Process
from tests.support.both_clients import CLIENTS, Caller, calling
from tests.support.movable_pool import MovablePool, reset, unwatched_masters
from tests.support.plain_redis import target

both = pytest.mark.parametrize("kind", CLIENTS)


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with unwatched_masters(1) as (running,):
        yield running


@pytest.fixture
def call(kind: str, server: Process, tmp_path: Path) -> Iterator[Caller]:
    reset(server)
    with (
        MovablePool({"cache-0": target(server)}, tmp_path) as site,
        calling(kind, site.url) as caller,
    ):
        caller(lambda mesh: mesh.set("k", "v"))
        yield caller


def views(call: Caller) -> dict[str, Any]:
    view = call.mesh.with_options(on_error="miss")
    return {"view": view, "copy": copy.copy(view), "client": view.client()}


@both
@pytest.mark.parametrize("word", ["close", "aclose"])
def test_closing_a_view_closes_a_client_of_its_own_and_no_other(
    kind: str, word: str, call: Caller
) -> None:
    if kind == "sync" and word == "aclose":
        assert not hasattr(call.mesh.with_options(), "aclose"), "redis.Redis has none either"
        return
    route_table = call.mesh._core.route_table
    for name, view in views(call).items():
        driven = call.drive(view)
        assert driven.get("k") == b"v"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # redis-py's, of asyncio's close
            call.on(view, lambda it: getattr(it, word)())
        assert (view._core.route_table is None) == (name != "view"), name
        assert call.mesh._core.route_table is route_table, name
        assert driven.get("k") == b"v", "a later command starts again"
        driven.close()


@both
def test_a_view_in_a_with_statement_leaves_its_client_open(kind: str, call: Caller) -> None:
    route_table = call.mesh._core.route_table
    view = call.mesh.with_options(on_error="miss")
    enter, leave = ("__enter__", "__exit__") if kind == "sync" else ("__aenter__", "__aexit__")
    call.on(view, lambda it: getattr(it, enter)())
    call.on(view, lambda it: getattr(it, leave)(None, None, None))
    assert call.mesh._core.route_table is route_table
    assert call.driven.get("k") == b"v"
