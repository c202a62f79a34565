"""JSON from whoever sends it: what JSON is comes through, and nothing that harms who reads it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.json_text import MAX_DEPTH, NotJsonError, decode_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_json_comes_through(value: object) -> None:
    text = json.dumps(value)
    assert decode_json(text) == decode_json(text.encode()) == json.loads(text)
    assert decode_json(b"\xef\xbb\xbf" + text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"NaN",
        b"[-Infinity]",
        b"[1e999]",
        b"9" * 5000,
        b'{"a": %d}' % 2**63,
        b"[1e400]",
        b'{"a": 1, "a": 2}',
        b'["\\ud800"]',
        b'{"\\udfff": 1}',
        b'{"a": %d}' % (-(2**63) - 1),
        b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2),
        b"[" * 1_000_000,
        b'{"a":' * 1_000_000,
    ],
)
def test_what_is_none_or_would_harm_is_refused(text: bytes) -> None:
    with pytest.raises(NotJsonError, match="JSON"):
        decode_json(text)


def test_nesting_has_a_bound_that_documents_do_not_meet() -> None:
    assert decode_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(NotJsonError, match="nested"):
        decode_json("[[[1]]]", max_depth=2)
    with pytest.raises(NotJsonError, match="line 2, column 1"):
        decode_json("{\n!")


def test_a_caller_may_allow_less() -> None:
    for text in ("[[]]", "[[1]]", '[{"a": 1}]'):
        assert decode_json(text, max_depth=2)
        with pytest.raises(NotJsonError, match="nested"):
            decode_json(text, max_depth=1)
