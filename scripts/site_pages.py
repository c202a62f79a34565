"""Called by mkdocs: README is the first page, and files outside docs/ are part of the site too."""

from __future__ import annotations

import posixpath
import re
import subprocess
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)\s]*)?\))")
_TOP = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "SECURITY.md", "docker-compose.yml")


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside docs/ that are committed and that a reader may be led to."""
    listed = subprocess.run(
        ["git", "ls-files", "README.md", "deploy", *_TOP],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for path in listed.stdout.splitlines():
        where = page_of(path)
        files.append(File.generated(config, where, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Have links lead to where files are on the site."""
    here = path_of(page.file.src_uri)

    def led(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), found[2]))
        at = posixpath.relpath(page_of(target), posixpath.dirname(page.file.src_uri) or ".")
        return f"{found[1]}{at}{found[3]}"

    return _LINK.sub(led, markdown)


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
