"""Called by mkdocs: README is the first page, and files outside docs/ are part of the site too.

Of these only what pages lead to: what somebody has made there, such as passwords, is not.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside docs/ that pages lead to."""
    for path in sorted(outside()):
        files.append(File.generated(config, page_of(path), abs_src_path=str(ROOT / path)))
    return files


def outside() -> set[str]:
    """Return README and the files outside docs/ that pages lead to, also from one another."""
    found = {"README.md"}
    waiting = ["README.md", *(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md"))]
    while waiting:
        here = waiting.pop()
        for link in _LINK.finditer((ROOT / here).read_text(encoding="utf-8")):
            path = target_of(here, link[2])
            if (
                not path.startswith(("docs/", ".."))
                and path not in found
                and (ROOT / path).is_file()
            ):
                found.add(path)
                if path.endswith(".md"):
                    waiting.append(path)
    return found


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Have links lead to where files are on the site."""
    here = path_of(page.file.src_uri)

    def led(found: re.Match[str]) -> str:
        where = page_of(target_of(here, found[2]))
        at = posixpath.relpath(where, posixpath.dirname(page.file.src_uri) or ".")
        return f"{found[1]}{at}{found[3]}"

    return _LINK.sub(led, markdown)


def target_of(here: str, link: str) -> str:
    """Return the file of the repository to which a link in another one leads."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(here), link))


def page_of(path: str) -> str:
    """Return where a file of the repository is on the site."""
    if path == "README.md":
        return "index.md"
    return path.removeprefix("docs/") if path.startswith("docs/") else f"project/{path}"


def path_of(page: str) -> str:
    """Return the file of the repository that a page of the site is."""
    if page == "index.md":
        return "README.md"
    return page.removeprefix("project/") if page.startswith("project/") else f"docs/{page}"
