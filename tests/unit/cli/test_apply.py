"""What `cachemesh apply` takes for a plan: nothing but what a dry run prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cachemesh.cli.errors import ExitCode
from tests.support.cli_in_process import run_here

NOWHERE = {"CACHEMESH_URL": "cachemesh://127.0.0.1:1/cache", "CACHEMESH_TOKEN": "secret"}
CHANGE = {
    "what": "set the weight of shard cache-0",
    "method": "PATCH",
    "path": "/v1/pools/cache/shards/cache-0",
    "body": {"weight": 3},
    "versioned": True,
    "query": {},
}
PLAN = {"dry_run": True, "pool": "cache", "version_before": 3, "change": CHANGE}
REMOVE = {**CHANGE, "method": "DELETE", "body": None}
CREATE = {
    **CHANGE,
    "method": "POST",
    "path": "/v1/pools",
    "body": {"pool": "cache"},
    "versioned": False,
}


def applied(directory: Path, plan: object, *words: str) -> tuple[int, str]:
    file = directory / "plan.json"
    file.write_text(plan if isinstance(plan, str) else json.dumps(plan))
    code, out, err = run_here(NOWHERE, "apply", str(file), *words)
    assert out == "" and "Traceback" not in err
    return code, err


@pytest.mark.parametrize(
    "change",
    [
        CHANGE,
        REMOVE,
        CREATE,
        {**REMOVE, "path": "/v1/pools/cache"},
        {**CHANGE, "path": "/v1/pools/cache/placement"},
    ],
)
def test_a_plan_is_sent_to_the_metaserver(tmp_path: Path, change: dict[str, Any]) -> None:
    code, said = applied(tmp_path, {**PLAN, "change": change})
    assert code == ExitCode.UNREACHABLE, said


@pytest.mark.parametrize(
    "plan",
    [
        "",
        "{",
        "\0",
        [],
        {},
        PLAN | {"dry_run": False},
        PLAN | {"pool": "../cache"},
        PLAN | {"pool": None},
        PLAN | {"version_before": "3"},
        PLAN | {"version_before": True},
        PLAN | {"change": None},
        PLAN | {"change": {"what": "x"}},
        PLAN | {"change": {**CHANGE, "more": 1}},
    ],
)
def test_another_file_is_no_plan(tmp_path: Path, plan: object) -> None:
    code, said = applied(tmp_path, plan)
    assert code == ExitCode.USAGE
    assert said.startswith(f"error: plan {tmp_path}/plan.json: ")
    assert "next: give what a command that changes a pool has printed with --dry-run" in said


@pytest.mark.parametrize(
    "change",
    [
        CHANGE | {"what": 1},
        CHANGE | {"method": "GET"},
        CHANGE | {"method": "PUT"},
        CHANGE | {"method": ["PATCH"]},
        CHANGE | {"path": "/v1/pools/other/shards/cache-0"},
        CHANGE | {"path": "/v1/pools/cache/shards/cache-0/failover"},
        CHANGE | {"path": "/v1/pools/cache/shards/../settings"},
        CHANGE | {"path": "/v1/pools/cache/shards/cache-0?dry_run=true"},
        CHANGE | {"path": "/v1/pools/cache/shards/cache-0\n"},
        CHANGE | {"path": "/v1/pools/cache/resize"},
        CHANGE | {"path": "/v1/tokens/1"},
        CHANGE | {"path": "http://elsewhere/v1/pools/cache/shards/cache-0"},
        CHANGE | {"path": None},
        CHANGE | {"body": None},
        CHANGE | {"body": "text"},
        CHANGE | {"body": {"weight": 3, "dry_run": False}},
        CHANGE | {"body": {"weight": 3, "version": 2}},
        CHANGE | {"versioned": False},
        CHANGE | {"query": {"strategy": "move"}},
        CHANGE | {"query": []},
        REMOVE | {"body": {}},
        REMOVE | {"path": "/v1/tokens/1"},
        REMOVE | {"path": "/v1/pools/cache/clients/1"},
        REMOVE | {"query": {"version": 2}},
        REMOVE | {"query": {"strategy": ["move"]}},
        CREATE | {"body": {"pool": "other"}},
        CREATE | {"body": None},
        CREATE | {"versioned": True},
        CREATE | {"path": "/v1/tokens"},
        CREATE | {"path": "/v1/restore"},
    ],
)
def test_no_other_request_is_sent(tmp_path: Path, change: dict[str, Any]) -> None:
    code, said = applied(tmp_path, {**PLAN, "change": change})
    assert code == ExitCode.USAGE, said


def test_the_plan_of_another_pool_is_refused(tmp_path: Path) -> None:
    code, said = applied(tmp_path, PLAN, "--pool", "other")
    assert code == ExitCode.USAGE
    assert "it is for pool cache, and the command is about pool other" in said
    assert "next: add --pool cache" in said


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    code, _, said = run_here(NOWHERE, "apply", str(tmp_path / "none"))
    assert code == ExitCode.USAGE
    assert f"error: plan {tmp_path}/none: No such file or directory" in said
