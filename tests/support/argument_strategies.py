"""Hypothesis strategies for command arguments of every Python type that an app may pass."""

from __future__ import annotations

import array
import datetime
import decimal
import enum
import fractions
import pathlib
import uuid
from typing import Any

import numpy
import redis
from hypothesis import strategies as st

RAISED = (redis.RedisError, TypeError, ValueError, OverflowError, AttributeError, BufferError)
"""What redis-py lets out for an argument; UnicodeError is a ValueError."""


class OddText(str):
    """A str whose methods all return another text than the one it holds."""

    def __str__(self) -> str:
        return "odd"

    __repr__ = __str__

    def __bytes__(self) -> bytes:
        return b"odd"

    def __format__(self, form: str) -> str:
        return "odd"

    def __len__(self) -> int:
        return 1

    def encode(self, *_: Any, **__: Any) -> bytes:
        """Return another text than the str holds."""
        return b"odd"

    def upper(self) -> str:
        """Return the name of an option, which the str is not."""
        return "STORE"


class OddBytes(bytes):
    """Bytes whose methods return other bytes than they hold, as with `OddText`."""

    def __str__(self) -> str:
        return "odd"

    __repr__ = __str__

    def __bytes__(self) -> bytes:
        return b"odd"

    def __len__(self) -> int:
        return 1

    def __buffer__(self, flags: int) -> memoryview:
        return memoryview(b"odd")

    def upper(self) -> bytes:
        """Return the name of an option, which the bytes are not."""
        return b"STORE"


class OddArray(bytearray):
    """A bytearray that converts to other bytes than it holds."""

    def __bytes__(self) -> bytes:
        return b"odd"


class PlainArray(bytearray):
    """A subclass of bytearray that changes nothing."""


class OddFloat(float):
    """A float with two texts, neither of which is its number."""

    def __repr__(self) -> str:
        return "odd"

    def __str__(self) -> str:
        return "odder"


class PlainFloat(float):
    """A subclass of float that changes nothing."""


class PlainInt(int):
    """A subclass of int that changes nothing."""


class OddInt(int):
    """An int whose repr is not its number."""

    def __repr__(self) -> str:
        return "odd"


class WithStr(str, enum.Enum):
    """A stand-in for enum.StrEnum, which Python 3.10 lacks: ``str()`` returns the value."""

    __str__ = str.__str__


def lazy(claimed: type) -> Any:
    """Return an object whose ``__class__`` is another type, as lazy strings have."""
    return type("Lazy", (), {"__class__": claimed})()


TEXT = st.text(max_size=8) | st.sampled_from(["", "{t}a", "ключ", "a" * 20_000, "\ud800"])
BYTES = st.binary(max_size=8) | st.sampled_from([b"", b"{t}a", b"\xff\x00\r\n"])
INT = st.integers() | st.integers(-3, 3)
FLOAT = st.floats() | st.sampled_from([0.1, -0.0, 1e22])


def member(value: Any, *kinds: Any) -> Any:
    """Make an enumeration of the given base classes with one member, and return that member."""
    return kinds[-1]("Made", {"MEMBER": value}, **({"type": kinds[0]} if kinds[1:] else {})).MEMBER


ENUMS = st.one_of(
    st.builds(member, TEXT, st.just(str), st.just(enum.Enum)),
    st.builds(member, TEXT, st.just(WithStr)),
    st.builds(member, BYTES, st.just(bytes), st.just(enum.Enum)),
    st.builds(member, INT, st.just(int), st.just(enum.Enum)),
    st.builds(member, FLOAT, st.just(float), st.just(enum.Enum)),
    st.builds(member, INT, st.just(enum.IntEnum)),
    st.builds(member, st.integers(0, 9), st.just(enum.IntFlag)),
    st.builds(member, st.integers(0, 9), st.just(enum.Flag)),
    st.builds(member, TEXT | INT, st.just(enum.Enum)),
)
BUFFERS: st.SearchStrategy[Any] = st.one_of(
    BYTES,
    st.lists(st.integers(-9, 9), max_size=3).map(lambda items: array.array("i", items)),
    st.lists(FLOAT, max_size=2).map(numpy.array),
)
VIEWS: st.SearchStrategy[Any] = st.builds(
    lambda buffer, step: memoryview(buffer)[::step], BUFFERS, st.integers(1, 2)
)
NUMPY = st.one_of(
    TEXT.map(numpy.str_),
    BYTES.map(numpy.bytes_),
    FLOAT.map(numpy.float64),
    st.sampled_from(
        [
            numpy.int64(1),
            numpy.uint8(1),
            numpy.float32(1.5),
            numpy.bool_(True),
            numpy.complex128(1),
            numpy.datetime64("2026-01-01"),
            numpy.array([1]),
            numpy.array("a"),
        ]
    ),
)
OTHERS = st.sampled_from(
    [
        None,
        True,
        False,
        1j,
        (),
        [],
        ["a"],
        {},
        {"a"},
        range(3),
        object(),
        str,
        array.array("b", b"a"),
        decimal.Decimal("1.5"),
        fractions.Fraction(1, 2),
        datetime.datetime(2026, 1, 1),
        datetime.timedelta(1),
        uuid.UUID(int=1),
        pathlib.PurePosixPath("a"),
        *map(lazy, (str, bytes, int, float, bool, bytearray, memoryview)),
    ]
)
PLAIN = TEXT | BYTES | INT | FLOAT
ARGUMENTS = st.one_of(
    PLAIN,
    TEXT.map(OddText),
    BYTES.map(OddBytes),
    BYTES.map(bytearray),
    BYTES.map(OddArray),
    BYTES.map(PlainArray),
    FLOAT.map(OddFloat),
    FLOAT.map(PlainFloat),
    INT.map(OddInt),
    INT.map(PlainInt),
    ENUMS,
    VIEWS,
    NUMPY,
    OTHERS,
)
"""Not among them: what has hiredis crash the process under redis-py, as an int of 5,000 digits."""
