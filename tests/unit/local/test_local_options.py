"""The limits of a stack's options, and the texts of its configuration files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cachemesh.core.errors import InvalidDocumentError, LocalStackError
from cachemesh.local import LocalStack, configs, memory
from cachemesh.local.options import StackOptions


@pytest.mark.parametrize(
    "wrong", [{"shards": 0}, {"replicas": -1}, {"sentinels": 0}, {"metaservers": 99}]
)
def test_counts_out_of_bounds_are_refused_by_name(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(LocalStackError, match=f"{name} is .*; it takes"):
        LocalStack(**wrong)


def test_a_pool_name_is_checked() -> None:
    with pytest.raises(InvalidDocumentError):
        LocalStack(pool="a\r\nb")


def test_a_pool_name_leaves_room_for_the_names_of_shards() -> None:
    longest = StackOptions(shards=1024, pool="p" * 59)
    assert max(map(len, longest.shard_names)) == 64
    with pytest.raises(InvalidDocumentError, match=r"60 characters.* use 59 at most"):
        LocalStack(pool="p" * 60)


def test_more_instances_than_memory_holds_are_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = memory.available()
    assert left is None or left > 0
    monkeypatch.setattr(memory, "available", lambda: 512 * 1024 * 1024)
    memory.check_enough(128)
    with pytest.raises(LocalStackError, match=r"2,048 instances would need about 8,192 MiB .* 512"):
        LocalStack(shards=1024, directory=tmp_path / "stack").start()
    assert not (tmp_path / "stack").exists()


def test_shards_are_named_after_the_pool() -> None:
    assert StackOptions(shards=2, pool="blue").shard_names == ["blue-0", "blue-1"]


def test_a_stack_that_is_not_running_says_so() -> None:
    with pytest.raises(LocalStackError, match="not running"):
        _ = LocalStack().info


def test_redis_listens_on_the_loopback_alone_and_keeps_nothing() -> None:
    text = configs.redis_conf(
        7000, Path('/tmp/with "quotes"'), ("127.0.0.1", 7001), ["maxmemory 1"]
    )
    lines = text.splitlines()
    for expected in (
        "bind 127.0.0.1",
        "protected-mode yes",
        'save ""',
        "appendonly no",
        r'dir "/tmp/with \"quotes\""',
        "replicaof 127.0.0.1 7001",
        "maxmemory 1",
    ):
        assert expected in lines
