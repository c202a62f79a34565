"""The memory of a shard after a move, and when it is too little."""

from __future__ import annotations

import pytest

from metaserver.domain.key_sample import Estimate, exactly
from metaserver.domain.shard_memory import ShardMemory, in_units

MEMORY = ShardMemory(used=10_000, most=20_000, policy="noeviction")


def test_keys_come_and_go() -> None:
    after = MEMORY.after([exactly(5000), Estimate(1000, 800, 1500)], [exactly(2000)])
    assert after == Estimate(14_000, 13_800, 14_500)
    assert MEMORY.after([], [Estimate(12_000, 9000, 15_000)]) == Estimate(0, 0, 1000)


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (exactly(20_000), None),
        (Estimate(15_000, 10_000, 20_000), None),
        (Estimate(15_000, 10_000, 20_001), "shard a may need about 14.6 KiB (9.8 KiB to 19.5 KiB)"),
        (Estimate(20_001, 10_000, 30_000), "shard a needs about 19.5 KiB (9.8 KiB to 29.3 KiB)"),
        (exactly(30_000), "shard a needs about 29.3 KiB of memory, and its maxmemory is 19.5 KiB"),
    ],
)
def test_what_is_too_little(after: Estimate, says: str | None) -> None:
    told = MEMORY.lack_of("a", after)
    assert told is None if says is None else told is not None and told.startswith(says)


def test_what_follows_is_the_policy_s() -> None:
    full = exactly(30_000)
    assert "moves to it stop" in (MEMORY.lack_of("a", full) or "")
    evicts = ShardMemory(10_000, 20_000, "allkeys-lfu").lack_of("a", full)
    assert evicts is not None and evicts.endswith("it will evict keys (allkeys-lfu)")
    assert ShardMemory(10_000, 0, "noeviction").lack_of("a", full) is None


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (3 * 1024**3, "3.0 GiB"),
        (1024**5, "1024.0 TiB"),
    ],
)
def test_units(count: float, text: str) -> None:
    assert in_units(count) == text
