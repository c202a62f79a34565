"""JSON as RFC 8259 and I-JSON (RFC 7493) have it, and nothing that merely looks like it."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 16  # of objects and arrays in each other
_MAX_DIGITS = 18  # of a whole number: what a signed 64-bit integer holds


def strict_json(raw: bytes) -> object:
    """What a body says.

    Raises:
        ValueError: it is not UTF-8 or not JSON, names a field twice, nests deeper than MAX_DEPTH,
            or has a number that is not finite or not of 64 bits; the text says which and where.
    """
    try:
        text = raw.decode("utf-8")
        found: object = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_float,
            parse_int=_whole,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    _check_depth(found)
    if "\\u" in text:
        _check_characters(found)
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r:.80} is there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.40} is too large")
    return number


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > _MAX_DIGITS:
        raise ValueError(f"the number {text:.40} has more than {_MAX_DIGITS} digits")
    return int(text)


def _check_depth(found: object) -> None:
    level = [found]
    for _ in range(MAX_DEPTH + 1):
        inner: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
        if not inner:
            return
        level = inner
    raise ValueError(f"nested deeper than {MAX_DEPTH}")


def _check_characters(found: object) -> None:
    """Half a surrogate pair is no character: nothing could store or send it."""
    try:
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("half a surrogate pair is not a character") from error
