"""What the command prints: values that are safe on a terminal, counts, tables that fit."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cachemesh.cli import shard_slowlog
from cachemesh.cli.escapes import on_terminal, parse_bytes
from cachemesh.cli.tables import Column, fitted, table
from cachemesh.core.plurals import counted


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (b"", ""),
        (b"plain", "plain"),
        ("Zürich ✓".encode(), "Zürich ✓"),
        (rb'{"a": "\n"}', r'{"a": "\n"}'),
        (b"a\nb\r\t", r"a\nb\r\t"),
        (b"\x1b[31mred\x07\x00", r"\x1b[31mred\x07\x00"),
        (b"\xff\xfe\\", r"\xff\xfe\\"),
        ("\u202e\x9b".encode(), r"\xe2\x80\xae\xc2\x9b"),
    ],
)
def test_a_value_on_a_terminal(value: bytes, line: str) -> None:
    assert on_terminal(value) == line


@given(st.binary())
def test_a_value_on_a_terminal_is_printable_and_read_back(value: bytes) -> None:
    line = on_terminal(value)
    assert line.isprintable()
    assert line.encode() == value or parse_bytes(line, escaped=True) == value


def test_counts() -> None:
    assert [counted(n, "key") for n in (0, 1, 2, 1000)] == [
        "0 keys",
        "1 key",
        "2 keys",
        "1,000 keys",
    ]


_NAME = st.text("ab-", min_size=1, max_size=64)
_WORDS = st.lists(
    st.sampled_from(["moved", "from", "10.123.45.67:16379", "to,", "x" * 30]), max_size=9
).map(" ".join)


@given(
    st.lists(st.tuples(_NAME, st.integers(1, 4).map(lambda n: f"10.0.0.{n}:16379"), _WORDS)),
    st.integers(40, 250),
)
def test_no_row_of_a_table_is_folded_and_no_address_cut(
    rows: list[tuple[str, str, str]], width: int
) -> None:
    columns = (Column("name", fit="middle"), "at", Column("detail", rank=1, fit="end"))
    shown = Console(file=io.StringIO(), width=width)
    shown.print(fitted(table(columns, rows), width))
    assert isinstance(shown.file, io.StringIO)
    _, _, *lines = shown.file.getvalue().splitlines()
    assert len(lines) == len(rows)
    for line, (name, at, detail) in zip(lines, rows, strict=True):
        assert len(line) <= width
        first, second, *words = line.split()
        assert second == at
        head, _, tail = first.partition("…")
        assert name.startswith(head) and name.endswith(tail)
        assert all(word == "…" or word.rstrip(",") in detail for word in words)
        found = [word.strip(",") for word in words if word[0].isdigit()]
        assert all(word in detail.split() for word in found)


def test_of_a_slow_log_that_nobody_tells_nothing_is_said_to_be_in_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    silent = {"instance": "h:1", "role": "master", "error": "timed out", "commands": []}
    shard_slowlog._show({"instances": [silent]}, wide=False)
    assert capsys.readouterr().err == "master h:1 does not tell: timed out\n"
