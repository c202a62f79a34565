"""Instances and Sentinels that are configured wrong are found, with what follows and what to do."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh.core.names import parse_address
from cachemesh.local import LocalStack
from tests.support.cli_in_process import run_here
from tests.support.metaserver_process import Api
from tests.support.misconfigured import (
    await_rules,
    await_well,
    configured,
    findings,
    monitored,
    rules,
)
from tests.support.plain_redis import direct
from tests.support.waiting import until

MEBIBYTE = 1024 * 1024
MEMORY = 64  # MiB of each instance


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    """What `cachemesh up` starts, with Sentinels that a busy machine does not alarm."""
    with LocalStack(
        shards=2, replicas=1, dashboard=False, maxmemory=MEMORY, down_after_ms=15_000
    ) as started:
        yield started


@pytest.fixture
def api(stack: LocalStack) -> Api:
    found = Api(stack.info["metaservers"][0], stack.token)
    await_well(found)
    return found


@dataclass(frozen=True)
class Wrong:
    """What is configured wrong by CONFIG SET, and what is found.

    Attributes:
        where: "master" or "replica" of cache-0, "cache-1" for both of that shard, or "all".
        settings: what is set, in this order.
        finds: the rules.
        says: part of what is configured or follows.
    """

    where: str
    settings: Mapping[str, object]
    finds: tuple[str, ...]
    says: str

    def __str__(self) -> str:
        return self.finds[0]


KEEP_ALL = {"maxmemory-policy": "noeviction"}
WRONG = (
    Wrong("all", {"maxmemory": 0}, ("no-maxmemory",), "the kernel kills it"),
    Wrong("all", KEEP_ALL, ("noeviction",), "OOM"),
    Wrong("replica", KEEP_ALL, ("noeviction", "policy-differs"), "at most others"),
    Wrong("all", {"maxmemory-policy": "volatile-ttl"}, ("volatile-policy",), "time to live"),
    Wrong("replica", {"maxmemory": 32 * MEBIBYTE}, ("maxmemory-differs",), "32.0 MiB"),
    Wrong("cache-1", {"maxmemory": 32 * MEBIBYTE}, ("maxmemory-unbalanced",), "32.0 MiB"),
    Wrong(
        "master",
        {"client-output-buffer-limit": "replica 1mb 512kb 60"},
        ("replica-buffer-small",),
        "without end",
    ),
    Wrong(
        "master",
        {"client-output-buffer-limit": "normal 8mb 4mb 60"},
        ("client-buffer-small",),
        "8.0 MiB",
    ),
    Wrong("master", {"repl-backlog-size": 16 * 1024}, ("repl-backlog-small",), "16.0 KiB"),
    Wrong("replica", {"replica-read-only": "no"}, ("replica-writable",), "READONLY"),
    Wrong("replica", {"replica-serve-stale-data": "no"}, ("replica-refuses-reads",), "MASTERDOWN"),
    Wrong("replica", {"replica-priority": 0}, ("no-promotable-replica",), "nobody takes over"),
    Wrong("master", {"min-replicas-to-write": 2}, ("min-replicas-too-many",), "NOREPLICAS"),
    Wrong("master", {"min-replicas-to-write": 1}, ("min-replicas-all",), "of 1 replica"),
    Wrong("master", {"timeout": 300}, ("idle-timeout",), "for 300 s"),
    Wrong("master", {"tcp-keepalive": 0}, ("no-tcp-keepalive",), "for ever"),
    Wrong(
        "replica",
        {"appendonly": "yes", "appendfsync": "always"},
        ("appendfsync-always",),
        "waits for the disk",
    ),
    Wrong("master", {"notify-keyspace-events": "KEA"}, ("keyspace-events",), "one thread"),
    Wrong("master", {"bind": "*"}, ("open-to-anybody",), "whoever reaches this port"),
)


def places(stack: LocalStack, where: str) -> list[str]:
    """Return the addresses that a `Wrong` means."""
    shards = {s["name"]: [s["master"], *s["replicas"]] for s in stack.info["shards"]}
    first = shards["cache-0"]
    named = {"master": first[:1], "replica": first[1:], "cache-1": shards["cache-1"]}
    return named.get(where, [*first, *shards["cache-1"]])


def test_nothing_is_found_on_a_stack_that_is_well(stack: LocalStack, api: Api) -> None:
    code, out, err = run_here(stack.info["env"], "doctor", "--dir", str(stack.directory))
    assert "ok    configuration: no rule finds anything" in out
    assert (code, err.strip()) == (0, "no check failed"), out


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_config_set_breaks(stack: LocalStack, api: Api, wrong: Wrong) -> None:
    at = places(stack, wrong.where)
    with configured(at, wrong.settings):
        assert rules(api) == set(wrong.finds)
        found = findings(api)
        assert {finding["at"] for finding in found} <= set(at)
        assert wrong.says in str(found)
        name, _ = [*wrong.settings.items()][-1]
        assert any(name in finding["configured"] for finding in found)
        typed = [f"redis-cli -h {host} -p {port} " for host, port in map(parse_address, at)]
        assert all(any(words in each["next_step"] for words in typed) for each in found)
    await_well(api)


def test_more_memory_than_the_machine_has(stack: LocalStack, api: Api) -> None:
    every = places(stack, "all")
    with direct(every[0]) as client:
        total = client.info("memory")["total_system_memory"]
    with configured(every, {"maxmemory": 2 * total, "repl-backlog-size": total // 500}):
        found = await_rules(api, "memory-overcommitted")
        assert "swaps" in found["memory-overcommitted"]["impact"]
    settings = {
        "maxmemory": total * 3 // 5,
        "repl-backlog-size": total // 1000,
        "save": "3600 1",
    }
    with configured(every, settings):
        found = await_rules(api, "save-beyond-memory")
        assert "save 3600 1" in found["save-beyond-memory"]["configured"]
    await_well(api)


def test_connections_that_are_nearly_all_taken(stack: LocalStack, api: Api) -> None:
    (master,) = places(stack, "master")
    with ExitStack() as opened, configured([master], {"maxclients": 130}):
        for _ in range(100):
            opened.enter_context(socket.create_connection(parse_address(master)))
        found = await_rules(api, "maxclients-nearly-reached")["maxclients-nearly-reached"]
        assert (found["at"], found["severity"]) == (master, "warning")
        assert "maxclients 130" in found["configured"]
    await_well(api)


@pytest.mark.parametrize(
    ("count", "option", "value", "rule", "says"),
    [
        (3, "quorum", 1, "quorum-one", "one Sentinel alone"),
        (3, "quorum", 3, "quorum-above-majority", "once 1 Sentinel of 3"),
        (3, "quorum", 4, "quorum-too-high", "never do so many agree"),
        (1, "failover-timeout", 12_345, "sentinel-settings-differ", "12345"),
        (3, "down-after-milliseconds", 900, "down-after-too-short", "900"),
        (3, "down-after-milliseconds", 60_000, "down-after-too-long", "for 60 s"),
    ],
    ids=lambda each: str(each) if "-" in str(each) else "",
)
def test_what_sentinel_set_breaks(
    stack: LocalStack, api: Api, count: int, option: str, value: int, rule: str, says: str
) -> None:
    with monitored(stack, count, option, value):
        assert rules(api) == {rule}
        found = findings(api)
        assert [finding["at"] for finding in found] == stack.info["sentinels"][:count]
        assert all(finding["shard"] == "cache-0" for finding in found)
        assert says in str(found)
        assert f"SENTINEL SET cache-0 {option} " in found[0]["next_step"]
    await_well(api)


def test_a_sentinel_that_names_another_master(stack: LocalStack, api: Api) -> None:
    address = stack.info["sentinels"][2]
    other = stack.start_redis()
    with direct(address) as sentinel:
        ask = sentinel.execute_command
        ask("SENTINEL", "REMOVE", "cache-0")
        ask("SENTINEL", "MONITOR", "cache-0", *other.address, 2)
        found = [each for each in findings(api) if each["rule"] == "sentinels-differ"]
        assert [each["at"] for each in found] == [address]
        assert str(other.address) in found[0]["configured"]
        ask("SENTINEL", "REMOVE", "cache-0")  # as the next step says: the metaserver does the rest
    await_well(api)


def test_a_sentinel_that_does_not_monitor_a_shard(stack: LocalStack, api: Api) -> None:
    address = stack.info["sentinels"][1]
    with direct(address) as sentinel:

        def seen() -> list[dict[str, Any]]:
            with suppress(redis.ResponseError):  # a metaserver may just have mended it
                sentinel.execute_command("SENTINEL", "REMOVE", "cache-1")
            return [each for each in findings(api) if each["rule"] == "shard-not-monitored"]

        (found,) = until(seen)
    assert (found["at"], found["shard"], found["severity"]) == (address, "cache-1", "error")
    assert "no vote" in found["impact"]
    await_well(api)


def test_a_token_file_that_others_may_read(stack: LocalStack, api: Api) -> None:
    file = Path(stack.info["token_file"])
    file.chmod(0o644)
    try:
        found = await_rules(api, "token-file-readable")["token-file-readable"]
        assert "0644" in found["configured"]
        assert found["next_step"].startswith(f"chmod 600 {file}")
    finally:
        file.chmod(0o600)
    await_well(api)


def test_the_doctor_shows_findings_and_fails_on_an_error_alone(stack: LocalStack, api: Api) -> None:
    words = ("doctor", "--dir", str(stack.directory))
    every = places(stack, "all")
    (master,) = places(stack, "master")
    with configured(every, {"timeout": 300}):
        code, out, err = run_here(stack.info["env"], *words)
        assert (code, err.strip()) == (0, "no check failed"), out
        assert "warning  idle-timeout: it closes what was idle" in out
        assert f"cache-0 {master}: timeout 300" in out
        assert out.count("idle-timeout") == 1
        assert "CONFIG SET lasts until the server ends" in out
        with configured([master], {"min-replicas-to-write": 5}):
            code, out, err = run_here(stack.info["env"], *words)
            assert (code, err.strip()) == (5, "failed: min-replicas-too-many"), out
            assert out.index("error    min-replicas-too-many") < out.index("warning  idle-timeout")
    await_well(api)


def test_a_token_of_role_read_is_not_told(stack: LocalStack, api: Api, tmp_path: Path) -> None:
    reader = api.as_reader()
    assert reader("GET", "/v1/pools/cache/findings").problem == "forbidden"
    assert reader.token is not None
    file = tmp_path / "token"
    file.write_text(reader.token)
    env: dict[str, Any] = {**stack.info["env"], "CACHEMESH_TOKEN_FILE": str(file)}
    code, out, _ = run_here(env, "doctor", "--dir", str(stack.directory))
    assert code == 0, out
    assert "warn  configuration: not checked: the token is no admin's" in out


def test_a_server_that_hangs_delays_no_other(stack: LocalStack, api: Api) -> None:
    """It is said not to be checked; all others are."""
    (replica,) = places(stack, "replica")
    (master,) = places(stack, "master")
    with configured([master], {"timeout": 300}):
        stack.process(replica).pause()
        try:
            reply = api("GET", "/v1/pools/cache/findings").json
        finally:
            stack.process(replica).resume()
        assert "idle-timeout" in {each["rule"] for each in reply["findings"]}
        (missing,) = [each for each in reply["not_checked"] if each["at"] == [replica]]
        assert "replica-writable" in missing["rules"]
    await_well(api)


def test_a_replica_that_announces_an_address_where_it_is_not(stack: LocalStack, api: Api) -> None:
    """The last of this stack: Sentinels remember the address."""
    (master,) = places(stack, "master")
    (replica,) = places(stack, "replica")
    host, port = parse_address(replica)
    wrong = f"127.0.0.9:{port}"
    with configured([replica], {"replica-announce-ip": "127.0.0.9"}), direct(master) as client:
        client.client_kill_filter(_type="replica")

        def seen() -> list[dict[str, Any]]:
            rule = "replica-announces-wrong-address"
            return [each for each in findings(api) if each["rule"] == rule]

        (found,) = until(seen)
        assert (found["at"], found["severity"]) == (wrong, "error")
        assert "replica-announce-ip" in found["next_step"]
        assert host not in found["at"]
