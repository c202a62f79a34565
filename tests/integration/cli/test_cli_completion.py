"""What a shell proposes for names, after a real metaserver."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from cachemesh.cli import main as cli
from cachemesh.local import LocalStack


@pytest.fixture(autouse=True)
def env(
    cachemesh_stack: LocalStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> dict[str, str]:
    env = {**cachemesh_stack.info["env"], "CACHEMESH_CONFIG_DIR": str(tmp_path)}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return env


def proposed(*words: str) -> list[str]:
    """Return what is proposed for the last word."""
    shell = ShellComplete(cli.cachemesh, {}, "cachemesh", "_CACHEMESH_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


def test_names_of_the_deployment(cachemesh_stack: LocalStack) -> None:
    shards = [shard["name"] for shard in cachemesh_stack.info["shards"]]
    assert proposed("shard", "show", "") == shards
    assert proposed("shard", "remove", "cache-0") == ["cache-0"]
    assert proposed("event", "list", "--shard", "cache-") == shards
    assert proposed("pool", "status", "ca") == ["cache"]
    assert proposed("--pool", "") == ["cache"]
    assert proposed("pool", "set", "on_e") == ["on_error="]
    assert "admin" in proposed("token", "revoke", "")
    replicas = [each for shard in cachemesh_stack.info["shards"] for each in shard["replicas"]]
    assert sorted(proposed("shard", "failover", "cache-0", "--to", "")) == sorted(replicas)


def test_of_the_deployment_that_the_line_leads_to(env: dict[str, str]) -> None:
    assert cli.run(["context", "set", "here", "--url", env["CACHEMESH_URL"]]) == 0
    assert cli.run(["context", "set", "nowhere", "--url", "cachemesh://127.0.0.1:1/cache"]) == 0
    assert proposed("context", "use", "") == ["here", "nowhere"]
    assert proposed("--context", "h") == ["here"]
    assert proposed("--context", "here", "pool", "show", "") == ["cache"]
    for lost in (
        ("--context", "nowhere", "shard", "show", ""),
        ("shard", "show", "--url", "cachemesh://127.0.0.1:1/cache", ""),
        ("shard", "show", "--url", "://", ""),
        ("shard", "show", "--token-file", "/nowhere", ""),
        ("shard", "show", "--pool", "absent", ""),
    ):
        assert proposed(*lost) == []
