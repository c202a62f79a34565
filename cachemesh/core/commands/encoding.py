"""Encodes arguments of commands to exactly the bytes that `redis.Redis` sends."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from redis.exceptions import DataError

from cachemesh.core.errors import ConfigurationError


def encode(arg: Any, encoding: str = "utf-8", errors: str = "strict") -> bytes:
    """Return an argument as bytes, by the rules of redis-py with hiredis.

    The type decides, not a ``__class__`` that an object claims. bytes, str and their subclasses
    give what they hold; a ``__str__`` or ``encode`` of a subclass is ignored. bytearray and
    memoryview give ``bytes()`` of them; int and float their ``repr``. Everything else is refused:
    None, bool, Decimal, and subclasses of int such as ``enum.IntEnum`` (redis-py's asyncio client
    alone would store ``<Color.RED: 1>``).

    Args:
        arg: the argument.
        encoding, errors: for str, as of ``str.encode``.

    Raises:
        redis.DataError: the type has no form in Redis.
        UnicodeEncodeError: ``encoding`` cannot express the text.
    """
    kind = type(arg)
    if kind is bytes:
        return bytes(arg)  # the object itself, not a copy
    if isinstance(arg, (bytearray, memoryview)):
        return bytes(arg)
    if issubclass(kind, str):
        return str.encode(arg, encoding, errors)
    if issubclass(kind, bytes):
        return bytes.__getitem__(arg, slice(None))
    if kind is int or issubclass(kind, float):
        return str.encode(repr(arg))
    raise DataError(
        f"Invalid input of type: {kind.__name__!r}. Convert to a bytes, string, int or float first."
    )


def require_encodable(args: Iterable[Any]) -> None:
    """Refuse arguments that `encode` refuses, without copying bytes or ASCII text.

    Args:
        args: the arguments of a command.

    Raises:
        redis.DataError, UnicodeEncodeError: as `encode`.
    """
    for arg in args:
        kind = type(arg)
        if kind is not bytes and not (kind is str and arg.isascii()):
            encode(arg)


def text_encoder(options: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    """Return a function that encodes text arguments and leaves others unchanged.

    Args:
        options: of a client; ``encoding`` and ``encoding_errors`` are used.

    Returns:
        None for plain UTF-8, which needs no such function.

    Raises:
        ConfigurationError: Python has no such encoding.
    """
    encoding, errors = options.get("encoding", "utf-8"), options.get("encoding_errors", "strict")
    try:
        name = codecs.lookup(encoding).name
    except LookupError as error:
        raise ConfigurationError(f"Option encoding: {error}; see the codecs of Python") from error
    if name == "utf-8" and errors == "strict":
        return None  # the packer's default
    return lambda arg: encode(arg, encoding, errors) if issubclass(type(arg), str) else arg


def as_keyword(arg: Any) -> bytes:
    """Return an argument in the form in which the server compares keywords: bytes, in capitals.

    Args:
        arg: the argument.

    Returns:
        Empty bytes for an argument that cannot be sent.
    """
    try:
        return encode(arg).upper()
    except (DataError, UnicodeEncodeError):
        return b""  # packing reports the error
