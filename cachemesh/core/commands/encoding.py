"""Arguments of commands as the bytes that Redis gets: exactly those that `redis.Redis` sends."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from redis.exceptions import DataError

from cachemesh.core.errors import ConfigurationError


def encode(arg: Any, encoding: str = "utf-8", errors: str = "strict") -> bytes:
    """An argument as bytes, by the rules of redis-py with hiredis.

    bytes and str, and what inherits from them, are what they hold: a ``__str__`` or ``encode`` of
    their own does not count. bytearray and memoryview are ``bytes()`` of them, a float is its
    ``repr``, and so is an int. Everything else is refused: None, bool, Decimal, and also what
    inherits from int, as ``enum.IntEnum`` does. redis-py's asyncio client alone would store an
    IntEnum, as ``<Color.RED: 1>``. What a type is counts, not what it claims by ``__class__``.

    Args:
        encoding, errors: for str, as of ``str.encode``.

    Raises:
        redis.DataError: Redis has no form for it.
        UnicodeEncodeError: it is text that ``encoding`` cannot express.
    """
    kind = type(arg)
    if kind is bytes:
        return bytes(arg)  # itself
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
    """Refuse arguments that `encode` refuses; copies none of those that are bytes or ASCII.

    Raises:
        As `encode`.
    """
    for arg in args:
        kind = type(arg)
        if kind is not bytes and not (kind is str and arg.isascii()):
            encode(arg)


def text_encoder(options: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    """What makes bytes of arguments that are text, and leaves others as they are.

    Args:
        options: of a client; ``encoding`` and ``encoding_errors`` count.

    Returns:
        None where text is plain UTF-8, which needs none.

    Raises:
        ConfigurationError: Python has no such encoding.
    """
    encoding, errors = options.get("encoding", "utf-8"), options.get("encoding_errors", "strict")
    try:
        name = codecs.lookup(encoding).name
    except LookupError as error:
        raise ConfigurationError(f"Option encoding: {error}; see the codecs of Python") from error
    if name == "utf-8" and errors == "strict":
        return None  # what the packer does by itself
    return lambda arg: encode(arg, encoding, errors) if issubclass(type(arg), str) else arg


def as_keyword(arg: Any) -> bytes:
    """An argument as the server compares it with a keyword; empty if it cannot be sent at all."""
    try:
        return encode(arg).upper()
    except (DataError, UnicodeEncodeError):
        return b""  # whoever packs it says so
