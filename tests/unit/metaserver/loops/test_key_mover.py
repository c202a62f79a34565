"""How long a source waits for a target that builds a key."""

from __future__ import annotations

import pytest
import redis

from metaserver.loops.key_mover import built_within


@pytest.mark.parametrize(
    ("size", "milliseconds"),
    [
        (None, 100),  # the key is gone
        (-1, 100),
        (56, 100),
        (1_000_000, 200),
        (50_000_000, 5_100),
        (2**62, 10_000),
        (redis.exceptions.NoPermissionError("NOPERM"), 10_000),
        (b"", 10_000),
    ],
)
def test_large_keys_alone_have_a_source_wait_longer(size: object, milliseconds: int) -> None:
    assert built_within(size) == milliseconds
