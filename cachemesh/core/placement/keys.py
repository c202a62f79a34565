"""From a key to the bytes and the integer that placement works with."""

from __future__ import annotations

from binascii import crc_hqx

from redis.exceptions import DataError

from cachemesh.core.commands.encoding import encode
from cachemesh.core.errors import InvalidKeyError

SLOT_COUNT = 16_384
"""Slots of a pool, as many as Redis Cluster has."""

MAX_KEY_BYTES = 512 * 1024 * 1024
"""Longest string Redis takes (its default ``proto-max-bulk-len``)."""

SHORT_KEY = 65_536
"""A str of fewer characters surely is no key that is too long."""


def key_bytes(key: object) -> bytes:
    """A key as the bytes that go over the wire, see `cachemesh.core.commands.encoding`.

    Raises:
        InvalidKeyError: the key is None, a bool or of another type Redis has no form for, or
            longer than 512 MiB.
        UnicodeEncodeError: it is text that UTF-8 cannot express.
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


def hash_tag_of(key: bytes, opening: bytes = b"{", closing: bytes = b"}") -> bytes:
    """The part of a key that is hashed, by Redis Cluster's rule, which is twemproxy's too.

    That is what stands between the first ``{`` and the first ``}`` after it, or the whole key if
    there is no such pair or nothing between them (redis.io, "Redis cluster specification").
    """
    start = key.find(opening)
    if start >= 0:
        end = key.find(closing, start + 1)
        if end > start + 1:
            return key[start + 1 : end]
    return key


def key_slot(key: bytes) -> int:
    """Slot of a key, 0 to 16383: CRC16 (XMODEM) of its hash tag, as Redis Cluster computes it."""
    if b"{" in key:
        key = hash_tag_of(key)
    return crc_hqx(key, 0) & 16_383
