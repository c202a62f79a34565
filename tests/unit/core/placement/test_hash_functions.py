"""Hash functions give published values, plain references', and those of twemproxy and Jedis."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cachemesh.core.placement import hash_functions
from cachemesh.core.placement.keys import key_slot

FOX = b"The quick brown fox jumps over the lazy dog"


@pytest.mark.parametrize(
    ("function", "text", "value"),
    [
        (hash_functions.twemproxy_fnv1_32, b"foobar", 0x31F0B262),
        (hash_functions.twemproxy_fnv1a_32, b"foobar", 0xBF9CF968),
        (hash_functions.twemproxy_fnv1_64, b"foobar", 0x340D8765A4DDA9C2 & 0xFFFFFFFF),
        (hash_functions.twemproxy_fnv1a_64, b"foobar", 0x85944171F73967E8 & 0xFFFFFFFF),
        (hash_functions.twemproxy_one_at_a_time, b"a", 0xCA2E9442),
        (hash_functions.twemproxy_one_at_a_time, FOX, 0x519E91F5),
        (hash_functions.TWEMPROXY["crc32a"].function, b"123456789", 0xCBF43926),
        (hash_functions.md5_word, b"", 0xD98C1DD4),
    ],
)
def test_published_values(function: Callable[[bytes], int], text: bytes, value: int) -> None:
    assert function(text) == value


@pytest.mark.parametrize(
    ("name", "plain", "high"),
    [
        ("one_at_a_time", 0xB563B74F, 0x7DC02AD6),
        ("md5", 0x2E986207, 0x37BB8261),
        ("crc16", 0xE1644671, 0x718EA4F2),
        ("crc32", 0x1F74, 0x6EAA),
        ("crc32a", 0x9F7417E3, 0x6EAA75A2),
        ("fnv1_64", 0xD39E3D21, 0xE5B689DF),
        ("fnv1a_64", 0xAE7B4289, 0x51E29697),
        ("fnv1_32", 0xA6AFFCA1, 0x8BC220FF),
        ("fnv1a_32", 0x507C1D89, 0x69D9CFB7),
        ("hsieh", 0xDDEC1969, 0xE11852F3),
        ("murmur", 0x8E24AEC7, 0x1F734FCA),
        ("jenkins", 0x048C4D84, 0x76C4CB53),
    ],
)
def test_values_by_which_keys_went_where_twemproxy_sent_them(
    name: str, plain: int, high: int
) -> None:
    function = hash_functions.TWEMPROXY[name].function
    assert function(b"user:1000") == plain
    assert function("中文键7".encode()) == high
    assert function(b"") == 0


def test_values_by_which_keys_went_where_jedis_sent_them() -> None:
    assert hash_functions.murmur64a(b"user:1000") == 0xA673268AD0D72F81
    assert hash_functions.murmur64a("中文键7".encode()) == 0x4E51CFC7E4D27D4D


@given(st.binary(max_size=80))
@example(b"")
def test_values_stay_in_their_span(key: bytes) -> None:
    for kind in (*hash_functions.TWEMPROXY.values(), *hash_functions.JEDIS.values()):
        assert 0 <= kind.function(key) < kind.span


@given(st.binary(max_size=40))
def test_crc16_is_a_crc_in_a_register_of_32_bits(key: bytes) -> None:
    register = 0
    for byte in key:
        index = (register >> 8 ^ byte) & 0xFF
        crc = index << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
        register = (register << 8 ^ crc) & 0xFFFFFFFF
    assert hash_functions.twemproxy_crc16(key) == register
    if b"{" not in key:
        assert register & 16_383 == key_slot(key)


@given(st.binary(min_size=1, max_size=40))
def test_fnv_counts_high_bytes_as_negative(key: bytes) -> None:
    fnv1, fnv1a = 0xCBF29CE484222325, 0xCBF29CE484222325
    for byte in key:
        signed = byte - 256 if byte > 127 else byte
        fnv1 = (fnv1 * 0x100000001B3 ^ signed) % (1 << 64)
        fnv1a = (fnv1a ^ signed) * 0x100000001B3 % (1 << 64)
    assert hash_functions.twemproxy_fnv1_64(key) == fnv1 % (1 << 32)
    assert hash_functions.twemproxy_fnv1a_64(key) == fnv1a % (1 << 32)


@given(st.binary(max_size=40))
def test_md5_words_are_the_digest(text: bytes) -> None:
    words = hash_functions.md5_words(text)
    assert b"".join(word.to_bytes(4, "little") for word in words) == hashlib.md5(text).digest()
    assert hash_functions.md5_word(text) == words[0]
