"""Arguments of every type are encoded as redis-py with hiredis does."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio.connection import Connection as AsyncConnection
from redis.connection import HiredisRespSerializer

from cachemesh.core.commands.blocking import block_seconds
from cachemesh.core.commands.encoding import encode, require_encodable
from cachemesh.core.commands.spec import COMMANDS, is_word, key_positions
from cachemesh.core.errors import InvalidKeyError
from cachemesh.core.placement.keys import key_bytes
from cachemesh.core.planning.split import encode_keys
from cachemesh.transport.redis_py import ArgumentEncoder, Packer, pack, pack_all
from tests.support.argument_strategies import ARGUMENTS, RAISED, OddText


class JobStatus(str, enum.Enum):
    """A str enumeration, as apps define them."""

    QUEUED = "queued"


class Color(enum.IntEnum):
    """An int enumeration, as apps define them."""

    RED = 1


def result(call: Callable[[], Any]) -> Any:
    """Return the result of a call, or the class of the exception that it raises."""
    try:
        return call()
    except RAISED as error:
        return type(error)


def reference(*command: Any) -> bytes:
    """Return what redis-py sends."""
    serializer: Any = HiredisRespSerializer()
    return b"".join(serializer.pack(*command))


@settings(deadline=None)
@given(ARGUMENTS, st.booleans())
def test_what_is_packed_is_what_redis_py_packs(argument: Any, last: bool) -> None:
    command = ("SET", "k", argument) if last else ("SET", argument, b"v")
    connection: Any = AsyncConnection(encoder_class=ArgumentEncoder)
    theirs = result(lambda: reference(*command))
    assert result(lambda: pack(command)) == theirs
    assert result(lambda: pack_all([command])) == theirs
    assert result(lambda: b"".join(Packer().pack(*command))) == theirs
    assert result(lambda: require_encodable(command)) == (None if type(theirs) is bytes else theirs)
    assert result(lambda: b"".join(connection.pack_command(*command))) == theirs


@settings(deadline=None)
@given(ARGUMENTS)
def test_a_key_is_routed_by_the_bytes_that_are_sent(key: Any) -> None:
    theirs = result(lambda: reference("GET", key))
    for ours in (result(lambda: key_bytes(key)), result(lambda: encode_keys([key], key_bytes)[0])):
        if isinstance(theirs, bytes):
            assert type(ours) is bytes
            assert pack(("GET", ours)) == theirs
        else:
            assert issubclass(ours, theirs)


def test_a_view_of_bytes_is_not_copied_on_asyncio() -> None:
    connection: Any = AsyncConnection(encoder_class=ArgumentEncoder)
    view = memoryview(b"a" * 100)
    assert view is connection.pack_command("SET", "k", view)[1]


def test_enumerations() -> None:
    assert pack(("SET", "k", JobStatus.QUEUED)) == reference("SET", "k", "queued")
    assert key_bytes(JobStatus.QUEUED) == b"queued"
    with pytest.raises(redis.DataError, match="'Color'"):
        encode(Color.RED)
    with pytest.raises(InvalidKeyError, match="'Color'"):
        key_bytes(Color.RED)


def test_keywords_and_counts_are_what_the_server_sees() -> None:
    stores: list[Any] = ["store", b"Store", bytearray(b"STORE"), memoryview(b"store")]
    others: list[Any] = [OddText("by"), "\u017ftore", "\ud800", None, Color.RED]
    assert [is_word(word, "STORE") for word in stores + others] == [True] * 4 + [False] * 5
    sort = COMMANDS["SORT"]
    assert key_positions(sort, ("SORT", "a", bytearray(b"STORE"), "d")) == [1, 3]
    evaluate = COMMANDS["EVAL"]
    assert key_positions(evaluate, ("EVAL", "", memoryview(b"2"), "a", "b", "c")) == [3, 4]
    assert key_positions(evaluate, ("EVAL", "", Color.RED, "a")) == []
    assert block_seconds("BLPOP", ("BLPOP", "a", memoryview(b"1.5"))) == 1.5
    assert block_seconds("XREAD", ("XREAD", bytearray(b"block"), "9", "STREAMS", "a", "0"))
