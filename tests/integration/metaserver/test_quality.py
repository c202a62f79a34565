"""What apps feel reaches the metaserver with their watch calls; what is no report harms nobody."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

import cachemesh
import cachemesh.asyncio
from cachemesh.cli import main as cli
from cachemesh.core.errors import ShardUnavailableError
from cachemesh.local import LocalStack
from tests.support.metaserver_process import Api
from tests.support.waiting import until

QUALITY = "/v1/pools/cache/quality"


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=0, dashboard=False) as stack:
        yield stack


@pytest.fixture
def admin(stack: LocalStack) -> Api:
    return Api(stack.info["metaservers"][0], stack.token)


def felt(admin: Api) -> dict[str, Any]:
    shards = admin("GET", QUALITY).json["shards"]
    return {each["shard"]: each for each in shards}


def calls(admin: Api) -> int:
    return sum(each["calls"] for each in felt(admin).values())


def report_now(admin: Api) -> None:
    """Change the pool: clients make another watch call at once."""
    settings = admin("GET", "/v1/pools/cache").json["settings"]
    interval = 2.0 if settings.get("poll_interval") == 1.0 else 1.0
    changed = admin("PATCH", "/v1/pools/cache/settings", {"settings": {"poll_interval": interval}})
    assert changed.status == 200, changed.text


def metric(admin: Api, start: str) -> float:
    lines = admin("GET", "/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(start))


def test_calls_of_both_clients_are_told(stack: LocalStack, admin: Api) -> None:
    url, token = stack.info["url"], stack.token
    with cachemesh.CacheMesh.from_url(url, token=token) as app:
        for number in range(200):
            app.set(f"k{number}", number)
        app.mget([f"k{number}" for number in range(50)])
        report_now(admin)
        until(lambda: calls(admin) == 202)  # MGET asks both shards

    async def use() -> None:
        async with cachemesh.asyncio.CacheMesh.from_url(url, token=token) as app:
            for number in range(200):
                await app.get(f"k{number}")
            await asyncio.to_thread(report_now, admin)
            # Counted with each eighth command of a connection.
            await asyncio.to_thread(until, lambda: calls(admin) >= 202 + 200 - 2 * 8)

    asyncio.run(use())
    shown = admin("GET", QUALITY).json
    assert {each["shard"] for each in shown["shards"]} == {"cache-0", "cache-1"}
    for each in [*shown["shards"], *shown["minutes"], *shown["clients"]]:
        assert 0 < each["p50"] <= each["p99"] <= each["max"]
        assert each["errors"] == {}
    assert len(shown["clients"]) == 2
    assert metric(admin, "cachemesh_apps_calls_total") == calls(admin)
    assert metric(admin, "cachemesh_apps_latency_seconds_count") > 0


def test_errors_are_told_by_class(stack: LocalStack, admin: Api) -> None:
    with cachemesh.CacheMesh.from_url(
        stack.info["url"], token=stack.token, socket_timeout=0.2
    ) as app:
        for number in range(40):
            app.set(f"e{number}", number)
        stack.process(stack.info["shards"][0]["master"]).pause()
        failed = 0
        try:
            for number in range(40):
                try:
                    app.get(f"e{number}")
                except ShardUnavailableError:
                    failed += 1
        finally:
            stack.process(stack.info["shards"][0]["master"]).resume()
        assert failed > 0
        report_now(admin)
        until(lambda: bool(felt(admin)["cache-0"]["errors"]))
    assert sum(felt(admin)["cache-0"]["errors"].values()) == failed
    assert felt(admin)["cache-1"]["errors"] == {}
    assert metric(admin, "cachemesh_apps_errors_total") == failed


@pytest.mark.parametrize(
    "quality",
    [
        [],
        {"cache-0": {}},
        {"cache-0": {"calls": -1}},
        {"cache-0": {"calls": 1, "latency": {"200": 1}}},
        {"cache-0": {"calls": 1, "errors": {"x" * 4000: 1}}},
        {f"s{number}": {"calls": 1} for number in range(201)},
    ],
)
def test_what_is_no_report_is_refused(admin: Api, quality: object) -> None:
    body = {"client": "bad", "version": 0, "wait": 0, "quality": quality}
    reply = admin("POST", "/v1/pools/cache/watch", body)
    assert (reply.status, reply.json["field"]) == (400, "quality"), reply.text
    assert "bad" not in admin("GET", "/v1/pools/cache/clients").text


def test_shards_that_the_pool_has_not_are_ignored(admin: Api) -> None:
    before = metric(admin, "cachemesh_apps_calls_total")
    body = {"client": "odd", "version": 0, "wait": 0, "quality": {"nowhere": {"calls": 7}}}
    assert admin("POST", "/v1/pools/cache/watch", body).status == 200
    assert "nowhere" not in admin("GET", QUALITY).text
    assert metric(admin, "cachemesh_apps_calls_total") == before


def test_the_command_shows_it(
    stack: LocalStack, admin: Api, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    quality = {"cache-0": {"calls": 7, "latency": {"47": 7}, "errors": {"timeout": 1}}}
    body = {"client": "shown", "version": 0, "wait": 0, "quality": quality}
    assert admin("POST", "/v1/pools/cache/watch", body).status == 200
    monkeypatch.setenv("CACHEMESH_URL", stack.info["url"])
    monkeypatch.setenv("CACHEMESH_TOKEN", stack.token)
    assert cli.run(["quality"]) == 0
    assert re.search(r"^cache-0 .*timeout: ", capsys.readouterr().out, re.MULTILINE)
    assert cli.run(["quality", "--seconds", "3600", "-o", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert "shown" in [each["client"] for each in data["clients"]]


def counts_clients(api: Api, count: int) -> bool:
    return bool(api("GET", "/v1/pools/cache/status").json["clients"] == count)


def test_every_metaserver_tells_of_the_whole_pool() -> None:
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=2, dashboard=False) as stack:
        one, other = (Api(address, stack.token) for address in stack.info["metaservers"])

        def report(api: Api, client: str, count: int, **more: Any) -> None:
            quality = {"cache-0": {"calls": count, "latency": {"47": count}, **more}}
            body = {"client": client, "version": 0, "wait": 0, "quality": quality}
            assert api("POST", "/v1/pools/cache/watch", body).status == 200

        def both() -> list[int]:
            return [api("GET", QUALITY).json["total"]["calls"] for api in (one, other)]

        report(one, "first", 1)
        report(other, "second", 1)
        until(lambda: [api("GET", QUALITY).json["reporting"] for api in (one, other)] == [2, 2])
        before = both()  # what was reported before a process first looked may be missing
        report(one, "first", 10)
        report(other, "second", 20, errors={"timeout": 3}, breaker="open")
        until(lambda: both() == [count + 30 for count in before])
        for api in (one, other):
            shown = api("GET", QUALITY).json
            assert shown["total"]["errors"] == {"timeout": 3}
            assert shown["total"]["breakers"] == {"open": 1}
            assert {each["client"] for each in shown["clients"]} == {"first", "second"}
            assert (shown["reporting"], shown["silent"]) == (2, [])
            until(partial(counts_clients, api, 2))
        start = 'cachemesh_apps_errors_total{pool="cache",shard="cache-0"'
        assert [metric(api, start) for api in (one, other)] == [0, 3], "each process its own"
