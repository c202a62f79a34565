"""The hash functions of twemproxy and of Jedis 3's ShardedJedis, to the bit.

Functions that the standard library computes in C take well under a microsecond. The others are
plain Python and take time for every byte of the key (figures: docs/placement.md). Strategy `slots`
uses none of these functions.

Source of twemproxy's: its `src/hashkit`, release 0.5.0, on a machine whose `char` is signed, such
as x86-64. Where the C code adds a `char`, a byte of 128 and above counts as the byte less 256.
There an empty key has the hash 0 with every function.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import md5
from struct import Struct
from types import MappingProxyType
from zlib import crc32

_MASK = 0xFFFF_FFFF
_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF
_FIRST_WORD: Callable[[bytes], tuple[int]] = Struct("<I").unpack_from
_FOUR_WORDS: Callable[[bytes], tuple[int, int, int, int]] = Struct("<4I").unpack
_THREE_WORDS: Callable[[bytes], tuple[int, int, int]] = Struct("<3I").unpack
_HALF_WORDS: Callable[[bytes], Iterator[tuple[int, int]]] = Struct("<HH").iter_unpack
_WORDS: Callable[[bytes], Iterator[tuple[int]]] = Struct("<I").iter_unpack
_LONG_WORDS: Callable[[bytes], Iterator[tuple[int]]] = Struct("<Q").iter_unpack
_TRIPLES: Callable[[bytes], Iterator[tuple[int, int, int]]] = Struct("<3I").iter_unpack


@dataclass(frozen=True)
class HashFunction:
    """A hash function and the range of its values.

    Attributes:
        function: returns the hash value of a key.
        span: values are 0 to ``span - 1``.
    """

    function: Callable[[bytes], int]
    span: int = 1 << 32


def md5_word(text: bytes) -> int:
    """Return the first 32 bits of the MD5 digest (RFC 1321), little-endian."""
    return _FIRST_WORD(md5(text, usedforsecurity=False).digest())[0]


def md5_words(text: bytes) -> tuple[int, int, int, int]:
    """Return the MD5 digest (RFC 1321) as four 32-bit numbers, little-endian."""
    return _FOUR_WORDS(md5(text, usedforsecurity=False).digest())


def twemproxy_md5(key: bytes) -> int:
    """Compute twemproxy's `hash_md5`: the first 32 bits of the MD5 digest."""
    return md5_word(key) if key else 0


def twemproxy_crc16(key: bytes) -> int:
    """Compute twemproxy's `hash_crc16`: CRC16 (XMODEM) that keeps the bits shifted out.

    Bits 16 to 23 are the high byte of the CRC without the last byte of the key, bits 24 to 31 that
    of the CRC without the last two.
    """
    two_less = crc_hqx(key[:-2], 0)
    one_less = crc_hqx(key[-2:-1], two_less)
    return crc_hqx(key[-1:], one_less) | (one_less >> 8) << 16 | (two_less >> 8) << 24


def twemproxy_crc32(key: bytes) -> int:
    """Compute twemproxy's `hash_crc32`: bits 16 to 30 of CRC-32, as libmemcached does."""
    return crc32(key) >> 16 & 0x7FFF


def twemproxy_fnv1_64(key: bytes) -> int:
    """Compute twemproxy's `hash_fnv1_64`: the low 32 bits of FNV-1 64."""
    return _fnv1(key, 0x8422_2325, 0x1B3)


def twemproxy_fnv1a_64(key: bytes) -> int:
    """Compute twemproxy's `hash_fnv1a_64`: the low 32 bits of FNV-1a 64."""
    return _fnv1a(key, 0x8422_2325, 0x1B3)


def twemproxy_fnv1_32(key: bytes) -> int:
    """Compute twemproxy's `hash_fnv1_32`: FNV-1 32."""
    return _fnv1(key, 0x811C_9DC5, 0x0100_0193)


def twemproxy_fnv1a_32(key: bytes) -> int:
    """Compute twemproxy's `hash_fnv1a_32`: FNV-1a 32."""
    return _fnv1a(key, 0x811C_9DC5, 0x0100_0193)


def _fnv1(key: bytes, basis: int, prime: int) -> int:
    """Compute FNV-1 (Fowler, Noll, Vo): multiply, then exclusive or with the next byte."""
    if not key:
        return 0
    value = basis
    for byte in memoryview(key).cast("b"):
        value = (value * prime ^ byte) & _MASK
    return value


def _fnv1a(key: bytes, basis: int, prime: int) -> int:
    """Compute FNV-1a: exclusive or with the next byte, then multiply."""
    if not key:
        return 0
    value = basis
    for byte in memoryview(key).cast("b"):
        value = (value ^ byte) * prime & _MASK
    return value


def twemproxy_one_at_a_time(key: bytes) -> int:
    """Compute twemproxy's `hash_one_at_a_time`.

    Source: Bob Jenkins, "Hash Functions", Dr. Dobb's, September 1997.
    """
    value = 0
    for byte in memoryview(key).cast("b"):
        value = (value + byte) * 1025 & _MASK
        value ^= value >> 6
    value = value * 9 & _MASK
    value ^= value >> 11
    return value * 32_769 & _MASK


def twemproxy_hsieh(key: bytes) -> int:
    """Compute twemproxy's `hash_hsieh`: Paul Hsieh's SuperFastHash, seeded with 0.

    The original is seeded with the length.
    """
    value = 0
    whole = len(key) & ~3
    for low, high in _HALF_WORDS(key[:whole]):
        value = (value + low) & _MASK
        value = (value << 16 ^ high << 11 ^ value) & _MASK
        value = (value + (value >> 11)) & _MASK
    rest = key[whole:]
    if len(rest) == 3:
        value = (value + rest[0] + (rest[1] << 8)) & _MASK
        value ^= value << 16 & _MASK
        value = (value ^ _signed(rest[2]) << 18) & _MASK
        value += value >> 11
    elif len(rest) == 2:
        value = (value + rest[0] + (rest[1] << 8)) & _MASK
        value ^= value << 11 & _MASK
        value += value >> 17
    elif rest:
        value = (value + rest[0]) & _MASK
        value ^= value << 10 & _MASK
        value += value >> 1
    return _avalanche(value & _MASK)


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def _avalanche(value: int) -> int:
    for left, right in ((3, 5), (4, 17), (25, 6)):
        value ^= value << left & _MASK
        value = (value + (value >> right)) & _MASK
    return value


def twemproxy_murmur(key: bytes) -> int:
    """Compute twemproxy's `hash_murmur`: MurmurHash2, seeded with ``0xdeadbeef`` times the length.

    Source: Austin Appleby's MurmurHash2.
    """
    multiplier = 0x5BD1_E995
    length = len(key)
    value = (0xDEAD_BEEF * length ^ length) & _MASK
    whole = length & ~3
    for (word,) in _WORDS(key[:whole]):
        word = word * multiplier & _MASK
        value = (value * multiplier ^ (word ^ word >> 24) * multiplier) & _MASK
    if whole < length:
        value = (value ^ int.from_bytes(key[whole:], "little")) * multiplier & _MASK
    value = (value ^ value >> 13) * multiplier & _MASK
    return value ^ value >> 15


def twemproxy_jenkins(key: bytes) -> int:
    """Compute twemproxy's `hash_jenkins`: Bob Jenkins' `hashlittle`, seeded with 13.

    Source: lookup3.c, May 2006.
    """
    if not key:
        return 0
    a = b = c = (0xDEAD_BEEF + len(key) + 13) & _MASK
    last = (len(key) - 1) // 12 * 12
    for x, y, z in _TRIPLES(key[:last]):
        a, b, c = _mix((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)
    x, y, z = _THREE_WORDS(key[last:].ljust(12, b"\0"))
    a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
    c = (c ^ b) - _rotated(b, 14) & _MASK
    a = (a ^ c) - _rotated(c, 11) & _MASK
    b = (b ^ a) - _rotated(a, 25) & _MASK
    c = (c ^ b) - _rotated(b, 16) & _MASK
    a = (a ^ c) - _rotated(c, 4) & _MASK
    b = (b ^ a) - _rotated(a, 14) & _MASK
    return (c ^ b) - _rotated(b, 24) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    a, c = (a - c & _MASK) ^ _rotated(c, 4), c + b & _MASK
    b, a = (b - a & _MASK) ^ _rotated(a, 6), a + c & _MASK
    c, b = (c - b & _MASK) ^ _rotated(b, 8), b + a & _MASK
    a, c = (a - c & _MASK) ^ _rotated(c, 16), c + b & _MASK
    b, a = (b - a & _MASK) ^ _rotated(a, 19), a + c & _MASK
    c, b = (c - b & _MASK) ^ _rotated(b, 4), b + a & _MASK
    return a, b, c


def _rotated(value: int, bits: int) -> int:
    return value << bits & _MASK | value >> 32 - bits


def murmur64a(key: bytes, seed: int = 0x1234_ABCD) -> int:
    """Compute Austin Appleby's MurmurHash64A as an unsigned number.

    Jedis sorts the value as a signed number: that cuts the same circle elsewhere, so the ring is
    the same.

    Args:
        key: as bytes.
        seed: Jedis's unless given.
    """
    multiplier = 0xC6A4_A793_5BD1_E995
    length = len(key)
    value = (seed ^ length * multiplier) & _MASK_64
    whole = length & ~7
    for (word,) in _LONG_WORDS(key[:whole]):
        word = word * multiplier & _MASK_64
        value = (value ^ (word ^ word >> 47) * multiplier) * multiplier & _MASK_64
    if whole < length:
        value = (value ^ int.from_bytes(key[whole:], "little")) * multiplier & _MASK_64
    value = (value ^ value >> 47) * multiplier & _MASK_64
    return value ^ value >> 47


TWEMPROXY: Mapping[str, HashFunction] = MappingProxyType(
    {
        "one_at_a_time": HashFunction(twemproxy_one_at_a_time),
        "md5": HashFunction(twemproxy_md5),
        "crc16": HashFunction(twemproxy_crc16),
        "crc32": HashFunction(twemproxy_crc32, 1 << 15),
        "crc32a": HashFunction(crc32),
        "fnv1_64": HashFunction(twemproxy_fnv1_64),
        "fnv1a_64": HashFunction(twemproxy_fnv1a_64),
        "fnv1_32": HashFunction(twemproxy_fnv1_32),
        "fnv1a_32": HashFunction(twemproxy_fnv1a_32),
        "hsieh": HashFunction(twemproxy_hsieh),
        "murmur": HashFunction(twemproxy_murmur),
        "jenkins": HashFunction(twemproxy_jenkins),
    }
)
"""The values of `hash` in twemproxy's configuration."""

JEDIS: Mapping[str, HashFunction] = MappingProxyType(
    {"murmur64a": HashFunction(murmur64a, 1 << 64), "md5": HashFunction(md5_word)}
)
"""Jedis's `Hashing.MURMUR_HASH` and `Hashing.MD5`."""
