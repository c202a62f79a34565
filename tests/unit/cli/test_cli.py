"""The command without a server: usage, errors and exit codes, and how data is printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
import redis
import yaml
from click.testing import CliRunner

from cachemesh.cli import main as cli
from cachemesh.cli.change import confirm
from cachemesh.cli.context import CommonOptions
from cachemesh.cli.errors import CommandError, ExitCode, explain
from cachemesh.cli.escapes import parse_bytes, shown
from cachemesh.cli.output import cell, emit, printable, size
from cachemesh.cli.pool import parse_shard
from cachemesh.cli.pool_settings import parse_setting
from cachemesh.cli.tables import show, table
from cachemesh.core.errors import (
    CacheMeshError,
    InvalidDocumentError,
    InvalidKeyError,
    MetaserverError,
    MetaserverUnavailableError,
    PoolNotFoundError,
    ShardUnavailableError,
)
from cachemesh.replay import TraceError
from tests.support.needs import needs


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHEMESH_URL", "CACHEMESH_TOKEN", "CACHEMESH_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)


def failing(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run a command that must fail with an empty stdout; return exit code and stderr."""
    code = cli.run(arguments)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "next"], captured.err
    return code, captured.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pool"], "cachemesh pool: Missing command"),
        (["nonsense"], "No such command 'nonsense'"),
        (["pool", "create"], "cachemesh pool create: Missing argument 'NAME'"),
        (["pool", "list", "--token", "s3cret"], "No such option"),
        (["pool", "list"], "neither --url nor CACHEMESH_URL is set"),
        (["pool", "list", "--url", "redis://h:1/x"], "URL redis://h:1/x: this command speaks to"),
        (["pool", "list", "--url", "cachemesh://[::1/x"], "it cannot be read"),
        (["pool", "list", "--url", "cachemesh://h:99999"], "port 1 to 65535"),
        (["pool", "show", "--url", "cachemesh://h:1"], "no pool"),
        (["pool", "show", "a b", "--url", "cachemesh://h:1/x"], "Pool name 'a b' is not valid"),
        (["pool", "set", "timeout", "--url", "cachemesh://h:1/x"], "write KEY=VALUE"),
        (["--pool", "a\r\nb", "shard", "list", "--url", "cachemesh://h:1"], "is not valid"),
        (["shard", "add", "a\r\nX", "h:1", "--url", "cachemesh://h:1/x"], "Shard name"),
        (["shard", "add", "a" * 65, "h:1", "--url", "cachemesh://h:1/x"], "1 to 64 characters"),
        (
            [
                *("pool", "create", "p" * 60, "--shard", "a=h:1", "--sentinel", "h:2"),
                *("--url", "cachemesh://h:1/x"),
            ],
            "use 59 at most",
        ),
        (["shard", "add", "a", "h", "--url", "cachemesh://h:1/x"], "write host:port"),
        (["pool", "rebalance", "--hash", "md5", "--url", "cachemesh://h:1/x"], "Give --placement"),
        (["pool", "rebalance", "--unnamed", "--url", "cachemesh://h:1/x"], "Give --placement"),
        (["pool", "rebalance", "--placement", "move"], "'move' is not one of"),
        (["pool", "rebalance", "--label", "a", "--url", "cachemesh://h:1/x"], "write SHARD=LABEL"),
        (
            [
                *("pool", "create", "x", "--shard", "a=h:1", "--sentinel", "h:2"),
                *("--placement", "ketama", "--label", "b=h:1", "--url", "cachemesh://h:1/x"),
            ],
            "--label b=...: no --shard has this name",
        ),
        (
            [
                *("pool", "create", "x", "--shard", "a=h:1", "--sentinel", "h:2"),
                *("--hash-tag", "{}", "--url", "cachemesh://h:1/x"),
            ],
            "Give --placement",
        ),
        (
            [
                *("pool", "rebalance", "--strategy", "drop", "--keys-per-second", "5"),
                *("--url", "cachemesh://h:1/x"),
            ],
            "--keys-per-second is for --strategy move",
        ),
        (["event", "list", "--since", "soon"], "'soon' is no time; write it like 45m"),
        (["shard", "add", "a", "h:1", "--weight", "0"], "0 is not in the range"),
        (["shard", "set-weight", "a", "-1"], "-1 is not in the range"),
        (["shard", "set-weight", "a", "x"], "not a valid integer"),
        (["key", "get", r"a\q", "--escaped", "--url", "cachemesh://h:1/x"], "after a backslash"),
        (["key", "get", "a", "--url", "ftp://h/x"], "URL scheme 'ftp' is not known"),
        (["key", "set", "a", "b", "--ttl", "0"], "--ttl"),
        (["key", "set", "a", "b", "--ttl", "1e20"], "--ttl"),
        (["key", "set", "a", "b", "--ttl", "nan"], "nan is not a number"),
        (["shard", "failover", "a", "--timeout", "nan"], "nan is not a number"),
        (["shard", "set-weight", "a", "1", "--wait", "nan"], "nan is not a number"),
        (["replay", "file", "--duration", "nan"], "nan is not a number"),
        (
            ["shard", "remove", "a", "--strategy", "drop", "--sample", "5"],
            "--sample is for --strategy",
        ),
        (
            ["shard", "remove", "a", "--strategy", "drop", "--big-key", "1M"],
            "--big-key is for",
        ),
        (["shard", "remove", "a", "--big-key", "0K"], "'0K' is no size; write it like"),
        (["shard", "remove", "a", "--big-key", "1T"], "'1T' is no size; write it like"),
        (["token", "create", "x", "--role", "root"], "'root' is not one of"),
        (["token", "list", "--url", "cachemesh://h:1", "--token-file", "/nowhere"], "/nowhere"),
        (["completion"], "Choose from: bash, zsh, fish"),
        (["event", "list", "--follow", "--url", "cachemesh://h:1"], "no pool"),
    ],
)
def test_wrong_use_exits_2_with_one_line_and_a_next_step(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    code, err = failing(capsys, *arguments)
    assert code == ExitCode.USAGE
    assert said in err
    assert "s3cret" not in err


def test_alone_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Commands:" in captured.err


def test_without_its_extra_it_says_what_to_install() -> None:
    blind = (
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'rich' else found(name, *rest)\n"
        "import cachemesh.cli.main"
    )
    done = subprocess.run(
        [sys.executable, "-c", blind], cwd=Path(__file__).parents[3], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: cachemesh: the command needs rich, which is not installed",
        "next: pip install 'cachemesh[cli]'",
    ]


def test_credentials_in_the_url_are_refused_and_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, err = failing(capsys, "pool", "list", "--url", "cachemesh://u:s3cret@h:1/x")
    assert code == ExitCode.USAGE
    assert "s3cret" not in err
    assert "--token-file" in err


def test_nobody_there_exits_3(capsys: pytest.CaptureFixture[str]) -> None:
    code, err = failing(capsys, "pool", "list", "--url", "cachemesh://127.0.0.1:1/x")
    assert code == ExitCode.UNREACHABLE
    assert "127.0.0.1:1" in err


def test_no_file_exits_1_before_anything_is_connected(capsys: pytest.CaptureFixture[str]) -> None:
    code, err = failing(capsys, "replay", "/no/such/trace", "--url", "cachemesh://127.0.0.1:1/x")
    assert code == ExitCode.FAILED
    assert "trace /no/such/trace: No such file" in err


@pytest.mark.parametrize(
    ("error", "code", "message", "next_step"),
    [
        (CommandError("a", "b", "c", ExitCode.UNHEALTHY), 5, "a: b", "c"),
        (PoolNotFoundError("No pool 'x'; look"), 4, "No pool 'x'", "look"),
        (MetaserverUnavailableError("No one (a: x; b: y)"), 3, "No one (a: x; b: y)", "is the"),
        (ShardUnavailableError("shard a: gone"), 3, "shard a: gone", "cachemesh pool status"),
        (redis.TimeoutError("slow"), 3, "slow", "cachemesh pool status"),
        (redis.ResponseError("WRONGTYPE"), 1, "WRONGTYPE", "cachemesh pool status"),
        (redis.AuthenticationError("no"), 1, "no", "password"),
        (InvalidKeyError("Key of 9 bytes; hash it"), 2, "Key of 9 bytes", "hash it"),
        (InvalidDocumentError("bad"), 2, "bad", "--help"),
        (TraceError("f", "cut off", "copy it"), 1, "trace f: cut off", "copy it"),
        (CacheMeshError(), 1, "CacheMeshError", "--help"),
        (MetaserverError(404, {"detail": "d", "next": "n"}), 4, "metaserver: d", "n"),
        (
            MetaserverError(503, {"detail": "b leads", "code": "not-leader"}),
            1,
            "b leads",
            "cachemesh metaserver list",
        ),
        (MetaserverError(409, {"detail": "d"}), 4, "metaserver: d", "log"),
        (MetaserverError(400, {"detail": "d"}), 2, "metaserver: d", "log"),
        (MetaserverError(422, {"detail": "d"}), 1, "metaserver: d", "log"),
        (MetaserverError(403, {"detail": "d"}), 1, "metaserver: d", "log"),
        (MetaserverError(502, {"detail": "d"}), 1, "metaserver: d", "log"),
        (MetaserverError(500, {"detail": "d", "code": "internal-error"}), 1, "metaserver: d", ""),
        (
            MetaserverError(404, {"detail": "No p", "code": "pool-not-found", "next": "GET /v1"}),
            4,
            "No p",
            "cachemesh pool list",
        ),
        (
            MetaserverError(
                422, {"detail": "h:1 is", "code": "instance-rejected", "reason": "not-empty"}
            ),
            1,
            "h:1 is",
            "--allow-nonempty",
        ),
        (click.ClickException("d"), 1, "d", "--help"),
    ],
)
def test_every_error_has_a_code_a_message_and_a_next_step(
    error: CacheMeshError, code: int, message: str, next_step: str
) -> None:
    found = explain(error)
    assert (found.code, found.message) == (code, message)
    assert next_step in found.next_step


def test_options_before_and_after_the_command() -> None:
    inner = CommonOptions(pool="in", output="json")
    outer = CommonOptions(url="u", pool="out", output="yaml")
    assert inner.over(outer) == CommonOptions(url="u", pool="in", output="json")


def test_shards_of_a_new_pool() -> None:
    assert parse_shard("a=h:1,weight=3") == {"name": "a", "master": "h:1", "weight": 3}
    assert parse_shard("a=[::1]:1") == {"name": "a", "master": "[::1]:1"}
    for text in ("a", "=h:1", "a=h", "a=h:1,weight=", "a=h:1,w=1", "a=h:1,weight=-1"):
        with pytest.raises((click.UsageError, InvalidDocumentError)):
            parse_shard(text)


def test_settings_are_json_or_text() -> None:
    settings = ["a=0.5", "b=", "c=null", "d=on", "e=true", 'f="1"', "g=NaN", "h=x=y", "i=1e400"]
    assert dict(map(parse_setting, settings)) == {
        "a": 0.5,
        "b": None,
        "c": None,
        "d": "on",
        "e": True,
        "f": "1",
        "g": "NaN",
        "h": "x=y",
        "i": "1e400",
    }


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("user:1", b"user:1"),
        (r"a\x00b", b"a\x00b"),
        (r"a\xfF\\\n\r\t", b"a\xff\\\n\r\t"),
        ("ü", "ü".encode()),
        ("\udcff", b"\xff"),
    ],
)
def test_keys_are_bytes_only_when_asked(text: str, raw: bytes) -> None:
    assert parse_bytes(text, escaped=True) == raw
    assert parse_bytes(text, escaped=False) == text.encode("utf-8", "surrogateescape")
    assert parse_bytes(shown(raw).replace("\\\\", "\\"), escaped=True) == raw


def test_a_backslash_at_the_end_is_refused() -> None:
    with pytest.raises(click.UsageError):
        parse_bytes("a\\", escaped=True)


def test_nothing_is_asked_where_nothing_is_destroyed() -> None:
    confirm("x", [], yes=False)
    confirm("x", ["a"], yes=True)


def test_output_forms(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"a": [1, None, "ü\x1b[31m"]}
    emit("json", data, lambda: None)
    assert json.loads(capsys.readouterr().out) == data
    emit("yaml", data, lambda: None)
    assert yaml.safe_load(capsys.readouterr().out) == data


def test_a_table_in_a_pipe_is_not_cut_and_not_coloured(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    show(table(["name", "count>"], [[long, 1234], ["[bold]b[/bold]\x1b[31m", None]]))
    out = capsys.readouterr().out
    assert long in out
    assert "1,234" in out
    assert "[bold]b[/bold]\\x1b[31m" in out
    assert "\x1b" not in out


def test_cells() -> None:
    values = [None, True, 12345, 0.25, 12345.6, ["a", "b"], [], "a\nb"]
    assert list(map(cell, values)) == ["-", "yes", "12,345", "0.25", "12,346", "a, b", "-", "a\\nb"]
    assert [size(n) for n in (None, 0, 1023, 1536, 5 * 1024**4)] == [
        "-",
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5120.0 GiB",
    ]
    assert printable("a\r\n\x00ü") == "a\\r\\n\\x00ü"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str) -> None:
    result = CliRunner().invoke(cli.cachemesh, ["completion", shell])
    assert result.exit_code == 0
    assert "_CACHEMESH_COMPLETE" in result.output


def test_completion_of_a_word() -> None:
    environ = {
        **os.environ,
        "_CACHEMESH_COMPLETE": "bash_complete",
        "COMP_WORDS": "cachemesh shard se",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-m", "cachemesh_command"],
        env=environ,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["plain,set-weight"]


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(
        [
            needs("bash"),
            "-c",
            'set -o pipefail; "$0" -m cachemesh_command --help | true',
            sys.executable,
        ],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.returncode in (ExitCode.OK, ExitCode.FAILED)


def all_commands(group: click.Group, path: str = "cachemesh") -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name, command in group.commands.items():
        found.append((f"{path} {name}", command))
        if isinstance(command, click.Group):
            found += all_commands(command, f"{path} {name}")
    return found


def test_every_command_explains_itself_and_every_change_can_be_tried() -> None:
    commands = dict(all_commands(cli.cachemesh))
    assert all(command.help for command in commands.values())
    shards = ("add", "remove", "set-weight")
    changes = (*shards, "create", "delete", "set", "rebalance", "apply", "del", "revoke")
    for path, command in commands.items():
        if path.split()[-1] in changes and "context" not in path:  # a file of the operator's
            assert "dry_run" in {parameter.name for parameter in command.params}, path


@pytest.mark.parametrize("target", ["meta2:7700", "cachemesh://", "http://meta2", "//[", "a://b"])
def test_a_copy_goes_to_metaservers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, target: str
) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    arguments = ("store", "copy", "--to", target, "--to-token-file", str(token))
    code, said = failing(capsys, *arguments, "--url", "cachemesh://127.0.0.1:1/cache")
    assert code == ExitCode.USAGE
    assert "cachemeshs://" in said
