"""`cachemesh shard failover` against a real metaserver."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cachemesh.cli import main as cli
from cachemesh.local import LocalStack
from tests.support.plain_redis import connect
from tests.support.planned_failovers import stopped
from tests.support.sentinels import keep_masters
from tests.support.waiting import until

Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=1, dashboard=False) as started:
        keep_masters(started)
        yield started


@pytest.fixture
def run(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs `cachemesh shard failover`; returns exit code, data and stderr."""
    for name, value in stack.info["env"].items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str, output: str = "json") -> tuple[int, Any, str]:
        code = cli.run(["-o", output, "shard", "failover", *arguments])
        captured = capsys.readouterr()
        data = captured.out
        return code, json.loads(data) if data and output == "json" else data, captured.err

    return call


def test_a_plan_then_the_failover(run: Run, stack: LocalStack) -> None:
    before = stack.master_of("cache-0")
    code, plan, _ = run("cache-0", "--dry-run")
    assert (code, plan["master_before"]) == (6, before)
    assert "wait for a Sentinel" in plan["steps"][1]
    assert "CLIENT PAUSE" in run("cache-0", "--now", "--dry-run")[1]["steps"][1]
    to = plan["master_after"]
    code, shown, _ = run("cache-0", "--to", to, "--dry-run", output="table")
    assert code == 6
    assert shown.startswith(f"plan: fail over shard cache-0 from {before} to {to}\n  1. check")
    assert f"replica {to} is " in shown
    assert stack.master_of("cache-0") == before

    code, done, err = run("cache-0", "--to", to, "--now", "--yes")
    assert (code, done["master_after"]) == (0, to), err
    assert not any("wait for a Sentinel" in step for step in done["steps"])
    assert stack.master_of("cache-0") == to
    assert "failing over cache-0" in err
    until(lambda: run("cache-0", "--dry-run")[0] == 6)
    code, shown, _ = run("cache-0", "--now", output="table")
    assert code == 0
    assert f"done: fail over shard cache-0 from {to} to {before}\nwrites waited " in shown


def test_what_is_refused(run: Run, stack: LocalStack) -> None:
    master = stack.master_of("cache-1")
    for arguments, expected, words in (
        (["cache-9"], 4, "has no shard 'cache-9'"),
        (["cache-1", "--to", master], 4, f"{master} is its master already"),
        (["cache-1", "--to", "127.0.0.1:1"], 4, "127.0.0.1:1 is no replica of it"),
        (["cache-1", "--to", "nowhere"], 2, "nowhere"),
        (["cache-1", "--timeout", "0.5"], 2, "0.5"),
        (["cache 1"], 2, "cache 1"),
    ):
        code, data, err = run(*arguments)
        assert (code, data) == (expected, ""), err
        assert words in err
        error, following = err.splitlines()  # and no announcement before
        assert error.startswith("error: ") and following.startswith("next: "), err
    assert stack.master_of("cache-1") == master


def test_a_shard_without_a_replica_to_promote(run: Run, stack: LocalStack) -> None:
    (shard,) = (s for s in stack.info["shards"] if s["name"] == "cache-1")
    (address,) = shard["replicas"]
    with stopped(stack, address):
        code, _, err = run("cache-1")
    assert code == 4
    assert f"replica {address}" in err
    following = err.splitlines()[-1]
    assert "start it again" in following and "--to" in following
    assert "replica-priority" not in following
    with connect(address) as replica:
        replica.config_set("replica-priority", 0)
        try:
            _, _, err = until(lambda: r if (r := run("cache-1", "--dry-run"))[0] == 4 else 0)
            assert "replica-priority 0" in err
        finally:
            replica.config_set("replica-priority", 100)
