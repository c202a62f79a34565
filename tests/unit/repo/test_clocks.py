"""No test asserts that something was quick: a machine may be slow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[2]
CLOCKS = {"time.monotonic", "time.perf_counter", "time.time"}
SECONDS = {"elapsed", "longest", "seconds", "slowest", "took", "waited"}


def is_a_time(node: ast.expr) -> bool:
    """Return whether an expression reads a clock, or is named as a measured time."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        return is_a_time(node.left) or is_a_time(node.right)
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in CLOCKS
    name = (
        node.attr
        if isinstance(node, ast.Attribute)
        else node.id
        if isinstance(node, ast.Name)
        else ""
    )
    return name in SECONDS


def is_a_maximum_of_times(node: ast.expr) -> bool:
    """Return whether an expression is the maximum of measured times."""
    called = (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "max"
    )
    words = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return called and bool(words & (SECONDS | {"times", "waits"}))


def races_with_a_clock(code: str) -> Iterator[int]:
    """Yield the lines that assert that a measured time is below a fixed bound."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Assert):
            continue
        for part in ast.walk(node.test):
            if not isinstance(part, ast.Compare):
                continue
            sides = [part.left, *part.comparators]
            for left, operator, right in zip(sides, part.ops, sides[1:], strict=False):
                fixed = isinstance(right, ast.Constant) or (
                    isinstance(right, (ast.Name, ast.BinOp)) and ast.unparse(right) != "AT_MOST"
                )
                below = isinstance(operator, (ast.Lt, ast.LtE)) and fixed
                if below and (is_a_time(left) or is_a_maximum_of_times(left)):
                    yield node.lineno


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("assert time.monotonic() - began < 2", True),
        ("assert 0.2 < time.monotonic() - began < 2", True),
        ("assert seconds < LIMIT + SLACK, name", True),
        ("assert result.complete and 1.2 < result.seconds < 5", True),
        ("assert max(waited) < QUICK", True),
        ("assert took >= 0.3", False),
        ("assert took < AT_MOST", False),
        ("assert calls <= 3 * (time.monotonic() - began)", False),
        ("assert median(waited) < 0.5", False),
    ],
)
def test_it_is_found(code: str, found: bool) -> None:
    assert bool(list(races_with_a_clock(code))) == found


def test_no_test_is_a_race_with_a_clock() -> None:
    assert [
        f"{path.relative_to(TESTS)}:{line}: use tests.support.waiting.in_time, or ask for the cause"
        for path in sorted(TESTS.rglob("*.py"))
        if path.name != "waiting.py"
        for line in races_with_a_clock(path.read_text(encoding="utf-8"))
    ] == []
