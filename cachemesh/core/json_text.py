"""Decodes JSON from any sender into values that are safe to walk, compare and print."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""Largest pool document that is read. A document of 16,384 shards takes 1.1 MB."""

MAX_DEPTH = 64
"""How deeply lists and objects may be nested: enough for every reply of a metaserver."""

_LARGEST = 2**63


class NotJsonError(ValueError):
    """The text is not JSON, or contains values that are refused."""


class RefusedValueError(NotJsonError):
    """The text is JSON with a value that is refused."""


def decode_json(text: str | bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Decode a JSON text; a byte order mark before the text is allowed.

    Source: RFC 8259, and RFC 7493 (I-JSON).

    Args:
        text: bytes in UTF-8, or str.
        max_depth: how deeply lists and objects may be nested.

    Raises:
        NotJsonError: the text is not JSON in UTF-8 (the message gives line and column), or an
            object has a name twice.
        RefusedValueError: a number is not finite, or an integer has more than 64 bits; a surrogate
            stands alone; or the nesting exceeds ``max_depth``.
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
    except ValueError as error:  # from the hooks, or a number of thousands of digits
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
    """Check numbers and nesting level by level, so that deep nesting needs no recursion."""
    level: list[object] = [value]
    for _ in range(max_depth + 1):
        nests, inner = False, list[object]()
        for item in level:
            if isinstance(item, (list, dict)):
                nests = True
                inner.extend(item.values() if isinstance(item, dict) else item)
            elif isinstance(item, int) and not -_LARGEST <= item < _LARGEST:
                raise RefusedValueError("JSON with an integer of more than 64 bits")
            elif isinstance(item, float) and not math.isfinite(item):
                raise RefusedValueError("JSON with a number that is too large")
        if not nests:
            return
        level = inner
    raise RefusedValueError("JSON that is nested too deeply")


def _check_characters(value: object) -> None:
    """Refuse a lone surrogate, which cannot be stored, sent or printed."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise RefusedValueError("JSON with half a surrogate pair, which is no character") from error
