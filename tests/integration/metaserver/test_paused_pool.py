"""A pool that is paused for maintenance: what is refused, what waits, and what goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachemesh import CacheMesh
from cachemesh.local import LocalStack
from tests.support.cli_in_process import run_here
from tests.support.metaserver_process import Api, Metaserver
from tests.support.moved_pool import POOL, MovedPool, moving_stack
from tests.support.plain_redis import direct
from tests.support.resize_stack import metaservers_of, url_of
from tests.support.waiting import AT_MOST, until

BULK = 5000
REASON = "new disks in rack 3"
CHANGES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/shards", {"name": "cache-9", "master": "127.0.0.1:1"}),
    ("PATCH", "/shards/cache-0", {"weight": 2, "dry_run": True}),
    ("DELETE", "/shards/cache-0", None),
    ("PATCH", "/placement", {}),
    ("POST", "/pause", {"reason": "mine"}),
    ("DELETE", "", None),
)


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with moving_stack(replicas=1) as stack:
        yield stack


@pytest.fixture
def pool(stack: LocalStack) -> MovedPool:
    return MovedPool(stack)


def command(stack: LocalStack, *words: str) -> tuple[int, str, str]:
    variables = {"CACHEMESH_URL": url_of(stack), "CACHEMESH_TOKEN": stack.token}
    return run_here(variables, *words)


def pause_of(api: Api) -> Any:
    return api("GET", f"{POOL}/status").json["pause"]


def check_what_is_refused(api: Api) -> None:
    for method, path, body in CHANGES:
        refused = api(method, f"{POOL}{path}", body)
        assert refused.problem == "pool-paused", refused.text
        told = refused.json["detail"]
        assert "Pool 'cache' is paused by token:admin since 20" in told
        assert told.endswith(f": {REASON}")
        assert refused.json["next"].endswith("cachemesh pool resume cache")


def check_what_goes_on(api: Api) -> None:
    settings = {"settings": {"poll_interval": 2}}
    assert api("PATCH", f"{POOL}/settings", settings).status == 200
    failed_over = api("POST", f"{POOL}/shards/cache-0/failover", {"hurry": True})
    assert failed_over.status == 200, failed_over.text


def check_a_restored_store(saved: Any, directory: Path, pause: Any) -> None:
    """A pool that was paused when the backup was taken is not touched before it is resumed."""
    with Metaserver(directory) as fresh:
        done = fresh("POST", "/v1/restore", {"backup": saved}).json
        assert "the pool is paused, as it was then" in done["items"][0]["detail"]

        def sweeps() -> set[tuple[str, str]]:
            told = fresh("GET", f"{POOL}/status").json["sweeps"]
            return {(each["state"], each["detail"]) for each in told}

        until(lambda: pause_of(fresh) == pause)
        assert sweeps() == {("waiting", "the pool is paused")}
        assert fresh("DELETE", f"{POOL}/pause").status == 200
        until(lambda: not sweeps())


def test_until_it_is_resumed_it_is_left_alone(
    stack: LocalStack, pool: MovedPool, tmp_path: Path
) -> None:
    api = pool.api
    assert command(stack, "pool", "pause", "--dry-run")[0] == 6
    assert pause_of(api) is None
    code, told, err = command(stack, "pool", "pause", "--reason", REASON)
    assert (code, told) == (0, "done: pause pool cache\n"), err
    pause = until(lambda: pause_of(api))
    assert {**pause, "since": ""} == {
        "state": "paused",
        "by": "token:admin",
        "since": "",
        "reason": REASON,
    }
    check_what_is_refused(api)
    check_what_goes_on(api)
    line = f"paused by token:admin since {pause['since']}: {REASON}"
    assert f"{line}; go on: cachemesh pool resume" in command(stack, "pool", "status")[1]
    assert line in command(stack, "pool", "show")[1]
    code, _, err = command(stack, "shard", "set-weight", "cache-0", "2")
    assert code == 4
    assert f"error: Pool 'cache' is {line}\nnext: when that is over, go on: " in err
    assert 'cachemesh_pool_paused{pool="cache"} 1' in api("GET", "/metrics").text

    (metaserver,) = metaservers_of(stack)
    metaserver.restart(AT_MOST)
    assert pause_of(pool.api) == pause, "it outlives the process that leads"
    check_a_restored_store(api("GET", "/v1/backup").json, tmp_path, pause)

    assert command(stack, "pool", "resume")[:2] == (0, "done: resume pool cache\n")
    until(lambda: pause_of(api) is None)
    assert 'cachemesh_pool_paused{pool="cache"} 0' in api("GET", "/metrics").text
    assert api("DELETE", f"{POOL}/pause").problem == "pool-not-paused"
    assert command(stack, "pool", "resume")[0] == 4
    events = [(each["action"], each["actor"], each["detail"]) for each in pool.events()]
    assert ("pool.paused", "token:admin", REASON) in events
    assert ("pool.resumed", "token:admin", f"it was {line}") in events


def test_keys_that_move_stop_and_go_on(stack: LocalStack, pool: MovedPool) -> None:
    api, began = pool.api, time.time()
    with (
        CacheMesh.from_url(url_of(stack), token=stack.token) as client,
        direct(pool.spare) as spare,
    ):
        client.mset({f"bulk:{n}": f"value:{n}" for n in range(BULK)})
        pool.begin_adding(keys_per_second=100)
        pool.await_state("moving")
        until(lambda: spare.dbsize() > 10)
        assert api("POST", f"{POOL}/pause", {"reason": REASON}).json["pause"]["state"] == "paused"
        until(lambda: pool.is_still(spare))
        told = until(pool.resize)
        assert (told["state"], told["detail"]) == ("moving", "the pool is paused")
        moved = spare.dbsize()
        values = client.mget([f"bulk:{n}" for n in range(BULK)])  # which pulls what it asks for
        assert values == [f"value:{n}".encode() for n in range(BULK)]
        assert spare.dbsize() > moved
        set_free = api("PATCH", f"{POOL}/resize", {"keys_per_second": 0, "paused": False})
        given_up = api("DELETE", f"{POOL}/resize?dry_run=true")
        for answer in (set_free, given_up):
            assert "no key moves until it is resumed: " in answer.json["warnings"][0], answer.text
        stopped = api("PATCH", f"{POOL}/resize", {"paused": True, "dry_run": True})
        assert stopped.json["warnings"] == []
        code, _, err = command(stack, "pool", "set", "poll_interval=3")
        assert (code, err.count("waiting")) == (4, 0), "it would wait in vain"
        assert f"is paused by token:admin since {pause_of(api)['since']}" in err
        assert pool.is_still(spare)
        assert api("DELETE", f"{POOL}/pause").status == 200
        pool.end(began)
        assert sum(client.dbsize_per_shard().values()) == BULK
        assert len(client.topology.document.placement.names) == 3
