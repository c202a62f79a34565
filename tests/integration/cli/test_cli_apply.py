"""`cachemesh apply` against a real metaserver: the change of a plan that was kept, and no other."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachemesh import CacheMesh
from cachemesh.local import LocalStack
from tests.support.terminal import Run, in_process
from tests.support.waiting import until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=0, sentinels=1, dashboard=False) as started:
        yield started


@pytest.fixture
def run(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    return in_process(stack.info["env"], monkeypatch, capsys)


@pytest.fixture
def document(run: Run) -> dict[str, Any]:
    until(lambda: not run("pool", "status")[1]["sweeps"])
    found: dict[str, Any] = run("pool", "show")[1]
    return found


def planned(run: Run, file: Path, *command: str) -> dict[str, Any]:
    """Keep the plan of a command in a file, once nothing of an earlier resize is left."""
    until(lambda: not run("pool", "status")[1]["sweeps"])
    code, plan, err = run(*command, "--dry-run")
    assert code == 6, err
    file.write_text(json.dumps(plan))
    found: dict[str, Any] = plan
    return found


def test_every_change_of_a_pool_is_made_from_its_plan(
    run: Run, stack: LocalStack, document: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "plan.json"
    spare, other = stack.start_redis().address, stack.start_redis().address
    sentinel = stack.info["sentinels"][0]
    commands = (
        ("pool", "set", "command_timeout=2.5"),
        ("shard", "add", "spare", str(spare), "--weight", "2"),
        ("shard", "set-weight", "spare", "1", "--keys-per-second", "9"),
        ("shard", "remove", "spare", "--strategy", "drop"),
        ("pool", "rebalance", "--placement", "jedis", "--unnamed"),
        ("pool", "rebalance", "--placement", "slots"),
        ("pool", "set", "command_timeout="),
        ("pool", "create", "new", "--shard", f"new-0={other}", "--sentinel", sentinel),
        ("pool", "delete", "new"),
    )
    for command in commands:
        about = ("--pool", "new") if "new" in command else ()
        plan = planned(run, file, *command)
        code, done, err = run("apply", str(file), "--yes", *about)
        assert code == 0, err
        assert done["summary"] == plan["summary"]
        assert done["dry_run"] is False and "change" not in done
        assert done["version_before"] == plan["version_before"]
        code, _, err = run("apply", str(file), "--yes", *about)  # once
        assert code == 4, err
    after = run("pool", "show")[1]
    assert [shard["name"] for shard in after["placement"]["shards"]] == ["cache-0", "cache-1"]
    assert after["settings"] == document["settings"]


def test_a_plan_is_for_one_version(run: Run, document: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    planned(run, file, "shard", "set-weight", "cache-0", "3")
    assert run("pool", "set", "poll_interval=4")[0] == 0
    before = run("pool", "show")[1]
    for more in (("--yes",), ("--dry-run",), ()):
        code, none, err = run("apply", str(file), *more)
        assert (code, none) == (4, None)
        now, then = before["version"], document["version"]
        assert f"the pool has changed since: Pool 'cache' is at version {now}, not {then}" in err
        assert "next: plan again" in err
    assert run("pool", "show")[1] == before
    assert run("pool", "set", "poll_interval=")[0] == 0


def test_what_is_destroyed_is_shown_and_asked_about(
    run: Run,
    stack: LocalStack,
    document: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with CacheMesh.from_url(stack.info["url"], token=stack.token) as client:
        client.mset({f"key:{n}": n for n in range(300)})
    until(lambda: sum(each["master"]["keys"] for each in run("shard", "list")[1]["shards"]) == 300)
    file = tmp_path / "plan.json"
    plan = planned(run, file, "shard", "set-weight", "cache-0", "3", "--strategy", "drop")
    assert run("apply", str(file), "--dry-run")[1]["change"] == plan["change"]
    code, _, err = run("apply", str(file))
    assert code == 2
    assert "set weight of shard cache-0 from 1 to 3" in err and plan["destroys"][0] in err
    assert "there is no terminal to ask on" in err and "--yes" in err
    assert run("pool", "show")[1] == document

    class Stdin:
        buffer = io.BytesIO(file.read_bytes())

    monkeypatch.setattr(sys, "stdin", Stdin())
    code, done, err = run("apply", "-", "--yes")
    assert code == 0, err
    assert done["document"]["placement"]["shards"][0]["weight"] == 3
