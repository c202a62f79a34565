"""The units of `deploy/systemd`: systemd accepts them, and the programs know every option."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dashboard.cli import command_line_parser
from metaserver.cli import serve
from tests.support.needs import needs
from tests.support.unit_files import CREDENTIALS, UNITS, command_line, environment_of, settings

METASERVER = UNITS / "cachemesh-metaserver.service"
DASHBOARD = UNITS / "cachemesh-dashboard.service"
OURS = (METASERVER, DASHBOARD)
REDIS_UNIT = "/lib/systemd/system/redis-server.service"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Return a root directory with Debian's units, ours, and the programs that they start."""
    needs("systemd-analyze")
    root = tmp_path / "root"
    shutil.copytree("/lib/systemd/system", root / "usr/lib/systemd/system", symlinks=True)
    (root / "lib").symlink_to("usr/lib")
    etc = root / "etc/systemd/system"
    etc.mkdir(parents=True)
    for unit in OURS:
        shutil.copy(unit, etc)
        (command,) = settings(unit)["ExecStart"]
        _make_program(root, command.split()[0])
    return root


def _make_program(root: Path, path: str) -> None:
    program = root / path.lstrip("/")
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)


def _analyze(*arguments: object) -> str:
    """Return what systemd-analyze says, which has to succeed."""
    command = [needs("systemd-analyze"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("unit", OURS, ids=lambda unit: unit.stem)
def test_systemd_has_nothing_to_say_against_a_unit(machine: Path, unit: Path) -> None:
    assert _analyze("verify", f"--root={machine}", "--man=no", unit.name) == ""


def test_a_wrong_setting_would_be_found(machine: Path) -> None:
    wrong = machine / "etc/systemd/system" / METASERVER.name
    wrong.write_text(METASERVER.read_text().replace("RestartSec=", "RestartSecs="))
    assert "RestartSecs" in _analyze("verify", f"--root={machine}", "--man=no", wrong.name)


def test_systemd_accepts_the_drop_in_of_debians_redis(machine: Path) -> None:
    needs(REDIS_UNIT)
    _make_program(machine, "/usr/bin/redis-server")
    name = "redis-server.service"
    shutil.copytree(UNITS / f"{name}.d", machine / "etc/systemd/system" / f"{name}.d")
    said = _analyze("verify", f"--root={machine}", "--man=no", name)
    assert "cachemesh.conf" not in said, said
    shown = _analyze("cat-config", f"--root={machine}", f"systemd/system/{name}")
    assert "RestartSec=15" in shown


def test_a_crashed_master_is_away_for_longer_than_sentinels_take() -> None:
    from metaserver.redis_io.sentinel_replies import DEFAULT_OPTIONS

    (seconds,) = settings(UNITS / "redis-server.service.d/cachemesh.conf")["RestartSec"]
    assert int(seconds) * 1000 >= 2 * int(DEFAULT_OPTIONS["down-after-milliseconds"])


@pytest.mark.parametrize("unit", OURS, ids=lambda unit: unit.stem)
def test_little_is_left_that_a_unit_may_do(unit: Path) -> None:
    said = _analyze("security", "--offline=true", "--threshold=20", unit)
    assert re.search(r"Overall exposure level for .*: [01]\.\d OK", said), said


def test_the_users_can_be_made(tmp_path: Path) -> None:
    needs("systemd-analyze")
    (tmp_path / "etc").mkdir()
    file = UNITS / "cachemesh.sysusers.conf"
    command = ["systemd-sysusers", f"--root={tmp_path}", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = {line.partition(":")[0] for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    users = {user for unit in OURS for user in settings(unit)["User"]}
    assert users <= made


def _variables(name: str) -> dict[str, str]:
    return {**environment_of(UNITS / name), CREDENTIALS: "/run/credentials/cachemesh"}


@pytest.mark.parametrize("store", ["--db", "--zookeeper"])
def test_the_metaserver_knows_every_option(store: str) -> None:
    text = (UNITS / "metaserver.env").read_text(encoding="utf-8")
    (line,) = re.findall(rf"^#?STORE=({store} .*)$", text, re.MULTILINE)
    words = command_line(METASERVER, {**_variables("metaserver.env"), "STORE": line})
    with serve.make_context("cachemesh-metaserver", words[1:]) as context:
        assert context.params["tls_key_file"] == Path("/run/credentials/cachemesh/tls-key.pem")
        assert context.params["redis_username"] == "metaserver"


def test_the_dashboard_knows_every_option() -> None:
    words = command_line(DASHBOARD, _variables("dashboard.env"))
    assert command_line_parser().parse_args(words[1:]).metaserver == "https://10.0.0.1:7700"


def test_credentials_are_those_that_the_command_names() -> None:
    (command,) = settings(METASERVER)["ExecStart"]
    used = set(re.findall(rf"\$\{{{CREDENTIALS}\}}/(\S+)", command))
    assert {each.partition(":")[0] for each in settings(METASERVER)["LoadCredential"]} == used


def test_the_state_directory_is_where_the_options_point() -> None:
    (state,) = settings(METASERVER)["StateDirectory"]
    words = command_line(METASERVER, _variables("metaserver.env"))
    for option in ("--db", "--token-file"):
        assert words[words.index(option) + 1].startswith(f"/var/lib/{state}/")
