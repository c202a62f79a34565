"""Keys that are too large to be moved: while one is copied, its shards serve nobody.

A shard that serves nobody for longer than the Sentinels' down-after-milliseconds is failed over,
and so is its next master, as the key is copied again.
"""

from __future__ import annotations

from collections.abc import Sequence

from metaserver.domain.key_sample import BigKey
from metaserver.domain.migration_time import OTHERS, blocked_by
from metaserver.domain.shard_memory import in_units

LONGEST_BLOCK = 5.0  # seconds
LARGEST_VALUE = 512 * 1024**2
"""Bytes of a value that a server takes at once. Source: proto-max-bulk-len in its redis.conf."""
SUSPECT = int(LONGEST_BLOCK * OTHERS)
"""Bytes below which no key is too large, of whatever type."""
_SHOWN = 60  # characters of a key's name


def too_large(keys: Sequence[BigKey]) -> str | None:
    """Return why keys cannot be moved as some are too large; None if none is."""
    for key in keys:
        named = f"key {key.text(_SHOWN)!r} of {in_units(key.size)} is too large"
        if key.size > LARGEST_VALUE:
            return f"{named}: a server takes {in_units(LARGEST_VALUE)} at once. Split or delete it"
        seconds = blocked_by(key)
        if seconds > LONGEST_BLOCK:
            return (
                f"{named}: its shards would serve nobody for about {seconds:.0f} s, and "
                f"{LONGEST_BLOCK:.0f} s are allowed. Split or delete it"
            )
    return None
