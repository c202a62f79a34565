"""JSON from whoever sends it: what is decoded here is safe to walk, compare and print."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""A pool document is not larger. One of 16,384 shards takes 1.1 MB."""

MAX_DEPTH = 64
"""So many lists and objects within each other are enough for every answer of a metaserver."""

_LARGEST = 2**63


class NotJsonError(ValueError):
    """The text is not JSON, or holds what no answer needs."""


def decode_json(text: str | bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """The values of a JSON text (RFC 8259, I-JSON: RFC 7493), a byte order mark before it allowed.

    Args:
        most_nested: so many lists and objects within each other are allowed.

    Raises:
        NotJsonError: not JSON in UTF-8 (then with line and column); a name twice in one object;
            numbers that are not finite, and integers of more than 64 bits; half a surrogate pair;
            more than `max_depth` levels.
    """
    try:
        plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(plain, parse_constant=_refuse, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        where = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise NotJsonError(f"not JSON: {where}") from error
    except UnicodeDecodeError as error:
        raise NotJsonError("not JSON in UTF-8") from error
    except RecursionError as error:
        raise NotJsonError("JSON that is nested too deeply") from error
    except ValueError as error:  # of the hooks; also numbers of thousands of digits
        raise NotJsonError(f"not JSON: {error}") from error
    _check(value, max_depth)
    if "\\u" in plain:
        _check_characters(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _count),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the field {twice!r:.80} is there twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _check(value: object, max_depth: int) -> None:
    """Level by level, so that nesting costs no stack."""
    level: list[object] = [value]
    for _ in range(max_depth + 1):
        nests, inner = False, list[object]()
        for item in level:
            if isinstance(item, (list, dict)):
                nests = True
                inner.extend(item.values() if isinstance(item, dict) else item)
            elif isinstance(item, int) and not -_LARGEST <= item < _LARGEST:
                raise NotJsonError("JSON with an integer of more than 64 bits")
            elif isinstance(item, float) and not math.isfinite(item):
                raise NotJsonError("JSON with a number that is too large")
        if not nests:
            return
        level = inner
    raise NotJsonError("JSON that is nested too deeply")


def _check_characters(value: object) -> None:
    """Half a surrogate pair is no character: nothing could store, send or print it."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise NotJsonError("JSON with half a surrogate pair, which is no character") from error
