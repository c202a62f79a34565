"""JSON from whoever sends it: what is decoded here is safe to walk, compare and print."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn

MOST_DOCUMENT_BYTES = 4 * 1024 * 1024
"""A pool document is not larger. One of 16,384 shards takes 1.1 MB."""

MOST_NESTED = 64
"""So many lists and objects within each other are enough for every answer of a metaserver."""

_LARGEST = 2**63


class NotJsonError(ValueError):
    """The text is not JSON, or holds what no answer needs."""


def decode_json(text: str | bytes) -> Any:
    """The values of a JSON text (RFC 8259), a byte order mark before it allowed.

    Raises:
        NotJsonError: not JSON in UTF-8 (then with line and column); NaN and Infinity, which are
            none; integers of more than 64 bits; more than `MOST_NESTED` levels.
    """
    try:
        plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(plain, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        where = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise NotJsonError(f"not JSON: {where}") from error
    except UnicodeDecodeError as error:
        raise NotJsonError("not JSON in UTF-8") from error
    except RecursionError as error:
        raise NotJsonError("JSON that is nested too deeply") from error
    except ValueError as error:  # of `_refuse`; also numbers of thousands of digits
        raise NotJsonError(f"not JSON: {error}") from error
    _check(value)
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _check(value: object) -> None:
    """Level by level, so that nesting costs no stack."""
    level: list[object] = [value]
    for _ in range(MOST_NESTED + 1):
        inner: list[object] = []
        for item in level:
            if isinstance(item, (list, dict)):
                values: Iterable[object] = item.values() if isinstance(item, dict) else item
                inner.extend(values)
            elif isinstance(item, int) and not -_LARGEST <= item < _LARGEST:
                raise NotJsonError("JSON with an integer of more than 64 bits")
        if not inner:
            return
        level = inner
    raise NotJsonError("JSON that is nested too deeply")
