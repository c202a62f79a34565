"""The Python of a page of the docs as a module, whose blocks run one after the other."""

from __future__ import annotations

import gc
import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from cachemesh import CacheMesh

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("deploy/**/*.md")),
]
_BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def python_of(page: Path) -> str:
    """Return the page's blocks of Python, each at the line that it has in the page."""
    text = page.read_text(encoding="utf-8")
    code, line = "", 0
    for found in _BLOCK.finditer(text):
        begins = text[: found.start(2)].count("\n")
        code += "\n" * (begins - line) + found[2]
        line = begins + found[2].count("\n")
    return code


@contextmanager
def module_of(page: Path, directory: Path) -> Iterator[ModuleType]:
    """Run the page's Python as a module that others can import; close its clients at the end."""
    name, before = f"docs_{page.stem}", _clients()
    (directory / f"{name}.py").write_text(python_of(page), encoding="utf-8")
    sys.path.insert(0, str(directory))
    module: ModuleType | None = None
    try:
        importlib.invalidate_caches()
        module = importlib.import_module(name)
        yield module
    finally:
        sys.path.remove(str(directory))
        sys.modules.pop(name, None)
        module = None
        for each in _clients() - before:
            each.close()


def _clients() -> set[CacheMesh]:
    """Return the clients there are, also those of names that a later block has given to others."""
    gc.collect()
    return {each for each in gc.get_objects() if isinstance(each, CacheMesh)}
