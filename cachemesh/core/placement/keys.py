"""From a key to its bytes, its hash tag and its slot."""

from __future__ import annotations

from binascii import crc_hqx

from redis.exceptions import DataError

from cachemesh.core.commands.encoding import encode
from cachemesh.core.errors import InvalidKeyError

SLOT_COUNT = 16_384
"""Slots of a pool, as many as in Redis Cluster."""

MAX_KEY_BYTES = 512 * 1024 * 1024
"""Longest string that Redis accepts (default ``proto-max-bulk-len``)."""

SHORT_KEY = 65_536
"""A str with fewer characters is never too long for a key, so its bytes need not be counted."""


def key_bytes(key: object) -> bytes:
    """Return a key as the bytes that are sent; see `cachemesh.core.commands.encoding`.

    Args:
        key: as an app passes it.

    Raises:
        InvalidKeyError: the key is None, a bool or of another type without a form in Redis, or
            longer than 512 MiB.
        UnicodeEncodeError: the key is text that UTF-8 cannot express.
    """
    try:
        raw = key if type(key) is bytes else encode(key)
    except DataError:
        raise InvalidKeyError(
            f"Invalid key of type {type(key).__name__!r}: convert it to bytes, str, int or float"
        ) from None
    if len(raw) > MAX_KEY_BYTES:
        raise InvalidKeyError(
            f"Key of {len(raw):,} bytes: Redis takes at most {MAX_KEY_BYTES:,}; hash or shorten it"
        )
    return raw


OPENING = ord("{")
"""To be looked for in bytes: as a number, for CPython tries to take bytes for one first."""


def hash_tag_of(key: bytes, opening: bytes = b"{", closing: bytes = b"}") -> bytes:
    """Return the part of a key that is hashed, by the rule of Redis Cluster and twemproxy.

    The hash tag stands between the first opening character and the first closing one after it.
    Without such a pair, or with nothing between the two, the whole key is hashed. Source: redis.io,
    "Redis cluster specification".

    Args:
        key: as bytes.
        opening, closing: one byte each.
    """
    start = key.find(opening)
    if start >= 0:
        end = key.find(closing, start + 1)
        if end > start + 1:
            return key[start + 1 : end]
    return key


def key_slot(key: bytes) -> int:
    """Return the slot of a key, 0 to 16383: CRC16 (XMODEM) of its hash tag, as in Redis Cluster.

    Args:
        key: as bytes.
    """
    if OPENING in key:
        key = hash_tag_of(key)
    return crc_hqx(key, 0) & 16_383
