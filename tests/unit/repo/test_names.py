"""Each public class has a name of its own: one word, one thing."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("cachemesh", "metaserver", "dashboard")
TWINS = (
    ("cachemesh/sync", "cachemesh/asyncio"),
    ("cachemesh/transport/sync", "cachemesh/transport/aio"),
)
"""Directories whose modules have the same names, classes and methods: for threads, for asyncio."""


def _twin(path: str) -> str:
    """Return the path of a module, or that of its twin for threads."""
    for threads, asyncio in TWINS:
        if path.startswith(f"{asyncio}/"):
            return threads + path.removeprefix(asyncio)
    return path


def homonyms(sources: dict[str, str]) -> dict[str, list[str]]:
    """Find public classes of the same name.

    Args:
        sources: the text of each module by its path, relative to the repository.

    Returns:
        The modules that define each name which several define, twins counted once.
    """
    homes = defaultdict(set)
    for path, source in sources.items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].add(_twin(path))
    return {name: sorted(paths) for name, paths in homes.items() if len(paths) > 1}


def test_no_public_class_name_stands_in_two_modules() -> None:
    sources = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert homonyms(sources) == {}


def test_each_test_module_has_a_name_of_its_own() -> None:
    """Else pytest collects the first alone: the directories of tests are no packages."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize(
    ("modules", "found"),
    [
        (("cachemesh/cli/a.py", "dashboard/b.py"), True),
        (("cachemesh/sync/client.py", "cachemesh/asyncio/client.py"), False),
        (("cachemesh/sync/client.py", "cachemesh/asyncio/other.py"), True),
        (("cachemesh/transport/sync/shard.py", "cachemesh/transport/aio/shard.py"), False),
        (("cachemesh/transport/sync/shard.py", "cachemesh/asyncio/shard.py"), True),
    ],
)
def test_a_second_class_of_a_name_is_noticed(modules: tuple[str, str], found: bool) -> None:
    sources = dict.fromkeys(modules, "class Thing: ...\nclass _Own: ...\n")
    assert list(homonyms(sources)) == (["Thing"] if found else [])
