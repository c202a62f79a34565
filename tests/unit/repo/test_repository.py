"""Files outside the packages: versions, Docker files, scripts, README and other prose."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import cachemesh
from cachemesh.cli.main import cachemesh as cli
from tests.support.needs import LIST, needs

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SCRIPTS = sorted(
    path
    for path in (ROOT / "scripts").iterdir()
    if path.is_file() and not path.suffix and path != LIST
)
PROSE = [README, *(p.read_text(encoding="utf-8") for p in sorted((ROOT / "docs").rglob("*.md")))]


def test_compose_file_is_accepted() -> None:
    command = [needs("docker-compose"), "config", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_image_versions_are_pinned() -> None:
    images = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    images += [service["image"] for service in COMPOSE["services"].values()]
    assert images
    for image in images:
        assert re.search(r":\d+\.\d+\.\d+(-[a-z-]+)?$", image), image


def test_only_the_control_plane_is_published_and_on_loopback() -> None:
    published = {
        name: service["ports"]
        for name, service in COMPOSE["services"].items()
        if "ports" in service
    }
    assert published == {
        "metaserver": ["127.0.0.1:7700:7700"],
        "dashboard": ["127.0.0.1:7701:7701"],
    }


def test_one_version_everywhere() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    stated = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert stated is not None
    assert stated[1] == cachemesh.__version__
    assert COMPOSE["services"]["metaserver"]["image"] == f"cachemesh:{stated[1]}"
    assert f"## {stated[1]}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_run(script: Path) -> None:
    first, *_ = script.read_text(encoding="utf-8").splitlines()
    if first == "#!/bin/sh":
        subprocess.run(["sh", "-n", str(script)], check=True)
    assert os.access(script, os.X_OK) is not script.name.startswith("_")


def test_an_old_python_is_refused_with_a_reason(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\ncase $2 in *exit*) exit 1 ;; *) echo 3.9.18 ;; esac\n")
    old.chmod(0o755)
    done = subprocess.run(
        [str(ROOT / "scripts" / "demo")],
        env={**os.environ, "PYTHON": str(old)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is Python 3.9.18, CacheMesh needs 3.10 or newer" in done.stderr


def _commands(text: str) -> list[list[str]]:
    """Return the words of each command in fenced shell blocks, up to a ``;``, ``|`` or ``>``.

    In a block with prompts the other lines are output, and are left out.
    """
    found = []
    for block in re.findall(r"^```(?:console|sh|bash)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        block = re.sub(r"<<(\w+)\n.*?^\1$", "", block, flags=re.MULTILINE | re.DOTALL)
        lines = block.replace("\\\n", " ").splitlines()
        if any(line.startswith("$ ") for line in lines):
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        begun = ""
        for line in lines:
            begun = f"{begun}\n{line}" if begun else line
            try:
                words = _words(begun)
            except ValueError:  # a quotation goes on in the next line
                continue
            begun = ""
            found += [words] if words else []
        assert not begun
    return found


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.wordchars += "$@:"
    words = list(lexer)
    return list(itertools.takewhile(lambda word: not set(word) <= set("();<>|&"), words))


def test_readme_names_the_two_commands() -> None:
    assert ["scripts/demo"] in _commands(README)
    assert ["scripts/test"] in _commands(README)


def _ours(text: str) -> list[list[str]]:
    """Return the commands that are the project's own."""
    found = []
    for words in _commands(text):
        rest = list(itertools.dropwhile(lambda word: re.match(r"[A-Z_]+=|do$|then$", word), words))
        if rest and (rest[0] == "cachemesh" or rest[0].startswith("scripts/")):
            found.append(rest)
    return found


@pytest.mark.parametrize("words", [w for text in PROSE for w in _ours(text)], ids=shlex.join)
def test_documented_commands_exist(words: list[str]) -> None:
    if words[0].startswith("scripts/"):
        assert os.access(ROOT / words[0], os.X_OK)
    else:
        command: click.Command = cli
        context = click.Context(cli, info_name="cachemesh")
        rest = words[1:]
        while isinstance(command, click.Group):
            assert rest, f"{shlex.join(words)} ends in the middle of a group"
            found = command.get_command(context, rest[0])
            assert found is not None, f"{shlex.join(words)}: no command {rest[0]}"
            command, rest = found, rest[1:]
        command.make_context(words[-1], rest)  # raises on options that do not exist


PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "docs/releasing.md"])
def test_files_that_contributors_are_sent_to_are_there(name: str) -> None:
    parts = "cachemesh|cachemesh_command|metaserver|dashboard|tests|scripts|docs"
    text = (ROOT / name).read_text(encoding="utf-8")
    for path in re.findall(rf"`((?:{parts})/[\w./-]+)[` ]", text):
        assert (ROOT / path).exists(), path
