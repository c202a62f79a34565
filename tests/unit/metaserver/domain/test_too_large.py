"""Which keys are too large to be moved, and how that is told."""

from __future__ import annotations

import pytest

from metaserver.domain.key_sample import BigKey
from metaserver.domain.large_keys import SUSPECT, too_large

MIB = 1024**2


def key(size: int, kind: str) -> BigKey:
    return BigKey(size, b"k\xff", 0, "a", "b", kind)


@pytest.mark.parametrize(
    ("size", "kind"), [(500 * MIB, "string"), (140 * MIB, "hash"), (SUSPECT, "list"), (1, "none")]
)
def test_keys_that_can_be_moved(size: int, kind: str) -> None:
    assert too_large([key(size, kind)]) is None


@pytest.mark.parametrize(
    ("size", "kind", "why"),
    [
        (513 * MIB, "string", "of 513.0 MiB is too large: a server takes 512.0 MiB at once"),
        (1024 * MIB, "list", "of 1.0 GiB is too large"),
        (300 * MIB, "hash", "serve nobody for about 10 s, and 5 s are allowed. Split or delete"),
    ],
)
def test_keys_that_are_too_large(size: int, kind: str, why: str) -> None:
    told = too_large([key(1, "string"), key(size, kind)])
    assert told is not None
    with pytest.raises(ValueError, match=why):
        raise ValueError(told)
