"""Contexts: names for deployments, in a file of the operator's."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from cachemesh.cli import main as cli
from cachemesh.cli.context import CommonOptions, chosen_deployment
from cachemesh.cli.context_file import Contexts, Deployment, context_path, read_contexts
from cachemesh.core.errors import ConfigurationError

LIVE, TEST = "cachemesh://live:7700/cache", "cachemesh://test:7700/cache"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CACHEMESH_CONFIG_DIR", str(tmp_path))
    for name in ("CACHEMESH_URL", "CACHEMESH_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.run(["context", *words])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_made_listed_used_forgotten(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    token = directory / "token"
    assert run(capsys, "set", "live", "--url", LIVE, "--token-file", str(token))[0] == 0
    assert run(capsys, "set", "test", "--url", TEST)[0] == 0
    file = directory / "contexts.yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = json.loads(run(capsys, "list", "-o", "json")[1])
    assert listed == {
        "current": "live",
        "contexts": [
            {"name": "live", "url": LIVE, "token_file": str(token)},
            {"name": "test", "url": TEST, "token_file": None},
        ],
    }
    assert run(capsys, "use", "test")[0] == 0
    assert read_contexts(file).find(None) == Deployment(TEST)
    assert run(capsys, "set", "test", "--token-file", "t")[0] == 0  # what is not said stays
    assert read_contexts(file).find("test") == Deployment(TEST, str(Path("t").absolute()))
    assert run(capsys, "remove", "test")[0] == 0
    assert read_contexts(file) == Contexts(None, {"live": Deployment(LIVE, str(token))})
    assert [each.name for each in directory.iterdir()] == ["contexts.yaml"]


def test_files_with_secrets_may_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    files = "token_file=t&password_file=p&sentinel_password_file=s&zookeeper_auth_file=z"
    assert run(capsys, "set", "live", "--url", f"{LIVE}?{files}")[0] == 0


def test_what_counts_more(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    run(capsys, "set", "live", "--url", LIVE)
    run(capsys, "set", "test", "--url", TEST)
    here = {"CACHEMESH_CONFIG_DIR": str(directory)}

    def chosen(options: CommonOptions, **environ: str) -> str | None:
        found = chosen_deployment(options, here | environ)
        return None if found is None else found.url

    none = CommonOptions()
    assert chosen(none) == LIVE
    assert chosen(none, CACHEMESH_CONTEXT="test") == TEST
    assert chosen(none, CACHEMESH_CONTEXT="test", CACHEMESH_URL="env") == "env"
    assert chosen(CommonOptions(context="test"), CACHEMESH_URL="env") == TEST
    assert chosen(CommonOptions(url="said", context="test")) == "said"
    run(capsys, "remove", "live")
    assert chosen(none) is None


@pytest.mark.parametrize(
    "words",
    [
        ("set", "x", "--url", "cachemesh://user:pass@h:1/c"),
        ("set", "x", "--url", "cachemesh://h:1/c?token=abc"),
        ("set", "x", "--url", "cachemesh://h:1/c?sentinel_password=abc"),
        ("set", "x", "--url", "cachemesh+zk://h:1/c?zookeeper_auth=u:abc"),
        ("set", "x", "--url", "cachemesh://h:1/c?Token=abc"),
        ("set", "x", "--url", "cachemesh://h:1/c#token=abc"),
        ("set", "x", "--url", "h:1/c"),
        ("set", "x", "--url", "redis://h:1/c"),
        ("set", "a b", "--url", LIVE),
        ("set", "x"),
        ("use", "absent"),
        ("remove", "absent"),
    ],
)
def test_wrong_use_changes_nothing(
    capsys: pytest.CaptureFixture[str], directory: Path, words: tuple[str, ...]
) -> None:
    code, _, err = run(capsys, *words)
    assert code in (2, 4)
    assert "next: " in err and "abc" not in err and "pass@" not in err
    assert not list(directory.iterdir())


@pytest.mark.parametrize("text", ["[", "1", "current: 1\ncontexts: {}", "contexts: {a: b}", "a: 1"])
def test_a_file_of_another_form_is_named(directory: Path, text: str) -> None:
    file = directory / "contexts.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"contexts\.yaml.*; mend or remove the file"):
        read_contexts(file)


def test_a_context_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--context", "absent", "pool", "list"]) == 2
    assert "see" not in (err := capsys.readouterr().err).split("next: ")[1]
    assert "there is no context 'absent'" in err and "next: cachemesh context list" in err


def test_a_user_without_a_home_has_no_contexts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CACHEMESH_CONFIG_DIR", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert cli.run(["pool", "list"]) == 2
    err = capsys.readouterr().err
    assert "this user has no home directory" in err and "set CACHEMESH_URL" in err


def test_where_the_file_is() -> None:
    assert context_path({"XDG_CONFIG_HOME": "/x"}) == Path("/x/cachemesh/contexts.yaml")
    assert context_path({"HOME": "/h"}) == Path("/h/.config/cachemesh/contexts.yaml")
    assert context_path({"CACHEMESH_CONFIG_DIR": "/c", "HOME": "/h"}) == Path("/c/contexts.yaml")
