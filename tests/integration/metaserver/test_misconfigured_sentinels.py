"""Sentinels that are too few, too many, in the wrong place, or remember what is gone; and slots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cachemesh.core.placement import SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.local import LocalStack
from cachemesh.local.binaries import find_redis_server
from metaserver.domain.audit_log import NewEvent
from metaserver.store.sqlite import SqliteStore
from tests.support.configured_servers import Servers, await_port
from tests.support.metaserver_process import Api, Metaserver
from tests.support.misconfigured import await_rules, await_well, findings
from tests.support.plain_redis import direct
from tests.support.waiting import until

SENTINEL = ["port PORT", "bind 127.0.0.1", "protected-mode yes"]
MYID = "sentinel myid 0123456789abcdef0123456789abcdef01234567"


@contextmanager
def stack_of(**options: Any) -> Iterator[tuple[LocalStack, Api]]:
    """Start a stack with a metaserver, which knows nothing wrong but what the options make."""
    with LocalStack(**{"shards": 1, **options}, dashboard=False, maxmemory=64) as stack:
        yield stack, Api(stack.info["metaservers"][0], stack.token)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    running = Servers(str(find_redis_server().path), tmp_path)
    try:
        yield running
    finally:
        running.stop()


def named(api: Api, rule: str) -> list[dict[str, Any]]:
    return [each for each in findings(api) if each["rule"] == rule]


@pytest.mark.parametrize(
    ("count", "rule", "follows"),
    [
        (1, "few-sentinels", "majority, which is 1 of 1"),
        (2, "few-sentinels", "majority, which is 2 of 2"),
        (4, "even-sentinels", "majority, which is 3 of 4"),
    ],
)
def test_a_number_of_sentinels_that_helps_nobody(count: int, rule: str, follows: str) -> None:
    with stack_of(replicas=0, sentinels=count) as (stack, api):
        found = await_rules(api, rule, "no-replica")
        assert follows in found[rule]["impact"]
        assert all(address in found[rule]["configured"] for address in stack.info["sentinels"])
        host, port = stack.info["shards"][0]["master"].split(":")
        assert f"--replicaof {host} {port}" in found["no-replica"]["next_step"]
        assert {each["severity"] for each in found.values()} == {"warning"}


def test_a_machine_whose_loss_is_the_loss_of_all() -> None:
    """127.0.0.2 stands for another machine, on which is a replica of one shard alone."""
    with stack_of(shards=2, replicas=1, down_after_ms=10_000) as (stack, api):
        await_well(api)
        other = stack.start_pair("other", replicas=0)["master"]
        with direct(other) as client:
            client.config_set("bind", "127.0.0.1 127.0.0.2")
            client.config_set("replica-announce-ip", "127.0.0.2")
            client.execute_command("REPLICAOF", *stack.info["shards"][0]["master"].split(":"))
        found = await_rules(api, "sentinels-on-one-machine", "replicas-beside-master")
        together = found["sentinels-on-one-machine"]
        assert "3 of 3 Sentinels are on 127.0.0.1" in together["configured"]
        assert "with the master of cache-0, cache-1" in together["configured"]
        assert "none of them is left" in together["impact"]
        beside = found["replicas-beside-master"]
        assert (beside["shard"], beside["severity"]) == ("cache-1", "warning")
        assert "on another machine" in beside["next_step"]


def test_slots_that_are_not_dealt_by_weight(tmp_path: Path) -> None:
    """As in a pool document that somebody has written by hand."""
    shards = [
        {"name": "cache-0", "weight": 1, "slots": [[0, 999]]},
        {"name": "cache-1", "weight": 1, "slots": [[1000, 16383]]},
    ]
    placement = SlotsPlacement.from_dict(
        {"strategy": "slots", "hash": "crc16", "hash_tag": "{}", "shards": shards}
    )
    with LocalStack(
        shards=2, replicas=1, metaservers=0, maxmemory=64, down_after_ms=10_000
    ) as stack:
        sentinels = tuple(stack.info["sentinels"])
        document = PoolDocument("cache", 1, placement, sentinels=sentinels)
        store = SqliteStore(tmp_path / "meta.db")
        store.create_document(document, NewEvent("pool.create", pool="cache"))
        store.close()
        with Metaserver(tmp_path) as api:
            await_rules(api, "slots-unbalanced")
            found = findings(api)
            assert {each["shard"] for each in found} == {"cache-0", "cache-1"}
            assert "1,000 slots at weight 1, by weight 8,192" in found[0]["configured"]
            assert "cachemesh pool rebalance" in found[0]["next_step"]


def test_one_that_is_outside_the_pool_and_then_gone(servers: Servers) -> None:
    with stack_of(replicas=1, down_after_ms=2_000) as (stack, api):
        await_well(api)
        extra = servers.start(SENTINEL, sentinel=True)
        await_port(extra)
        with direct(f"127.0.0.1:{extra}") as sentinel:
            host, port = stack.info["shards"][0]["master"].split(":")
            ask = sentinel.execute_command
            ask("SENTINEL", "MONITOR", "cache-0", host, port, 2)
        found = until(lambda: named(api, "sentinel-outside-pool"))
        assert f"127.0.0.1:{extra}" in found[0]["configured"]
        assert found[0]["severity"] == "note"
        servers.stop()
        found = until(lambda: named(api, "sentinel-leftover"))
        assert f"127.0.0.1:{extra}, which is gone, among 4" in found[0]["configured"]
        assert "takes 3 votes, of 3" in found[0]["impact"]
        for address in stack.info["sentinels"]:  # as the next step says
            with direct(address) as sentinel:
                sentinel.execute_command("SENTINEL", "RESET", "cache-0")
        await_well(api)


def test_one_whose_machine_stood_still() -> None:
    with stack_of(replicas=1, down_after_ms=10_000) as (stack, api):
        await_well(api)
        address = stack.info["sentinels"][0]
        process = stack.process(address)
        process.pause()
        try:
            # Another Sentinel has waited for its reply for longer than what makes it TILT, 2 s.
            until(lambda: silent_for(stack, address) > 4_000)
        finally:
            process.resume()
        (found,) = until(lambda: named(api, "sentinel-tilt"))
        assert (found["at"], found["severity"]) == (address, "warning")
        assert "votes for none" in found["impact"]


def silent_for(stack: LocalStack, address: str) -> int:
    """Return for how many milliseconds a Sentinel has not answered another one."""
    with direct(stack.info["sentinels"][1]) as other:
        rows = other.execute_command("SENTINEL", "SENTINELS", "cache-0")
    for row in rows:
        flat = [*row] if isinstance(row, list) else [word for pair in row.items() for word in pair]
        fields = dict(zip(map(str, flat[::2]), flat[1::2], strict=True))
        if f"{fields['ip']}:{fields['port']}" == address:
            return int(fields["last-ok-ping-reply"])
    return 0


def test_copies_of_one_file(servers: Servers, tmp_path: Path) -> None:
    """Two of three Sentinels were started with the id of the same one."""
    ports = [servers.start([*SENTINEL, *more], sentinel=True) for more in ([MYID], [MYID], [])]
    master = servers.start(
        ["port PORT", "save ''", "maxmemory 64mb", "maxmemory-policy allkeys-lru"]
    )
    for port in (*ports, master):
        await_port(port)
    with Metaserver(tmp_path) as api:
        body = {
            "pool": "cache",
            "shards": [{"name": "cache-0", "master": f"127.0.0.1:{master}"}],
            "sentinels": [f"127.0.0.1:{port}" for port in ports],
        }
        made = api("POST", "/v1/pools", body)
        assert made.status == 201, made.text
        found = until(lambda: named(api, "sentinel-id-twice"))
        assert [each["at"] for each in found] == [f"127.0.0.1:{port}" for port in ports[:2]]
        assert "0123456789abcdef" in found[0]["configured"]
        assert "sentinel myid" in found[0]["next_step"]
