"""The site of the documentation: complete, without a link that leads nowhere, and on its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NAMED_BY_ITS_INDEX = ROOT / "docs" / "adr"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(place)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return place


def test_every_page_is_in_the_menu(site: Path) -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page for page in ROOT.glob("docs/**/*.md") if page.parent != NAMED_BY_ITS_INDEX]
    assert [
        page.name for page in pages if f": {page.relative_to(ROOT / 'docs')}\n" not in menu
    ] == []


def test_files_outside_docs_are_part_of_it(site: Path) -> None:
    production = (site / "production.html").read_text(encoding="utf-8")
    assert 'href="project/deploy/nginx/index.html"' in production
    assert (site / "project" / "deploy" / "nginx" / "index.html").exists()
    assert (site / "project" / "deploy" / "prometheus" / "cachemesh.rules.yml").exists()
    assert 'href="production.html"' in (site / "index.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = [
        found
        for page in site.rglob("*.html")
        for found in re.findall(
            r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]*)"', page.read_text("utf-8")
        )
    ]
    assert loaded == []
