"""`deploy/compose`: Compose accepts it, no password stands in it, images are the playground's."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.metaserver_process import ROOT
from tests.support.needs import needs

DIRECTORY = ROOT / "deploy" / "compose"
TEXT = (DIRECTORY / "compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
PLAYGROUND: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def make_secrets(into: Path) -> None:
    """Run `make-secrets`."""
    environment = {**os.environ, "INTO": str(into)}
    subprocess.run([DIRECTORY / "make-secrets", "64mb"], env=environment, check=True)


def test_compose_accepts_the_file() -> None:
    command = [needs("docker-compose"), "-f", "compose.yml", "config", "-q"]
    done = subprocess.run(command, cwd=DIRECTORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_images_are_those_of_the_playground() -> None:
    theirs = {service["image"] for service in PLAYGROUND["services"].values()}
    assert {service["image"] for service in SERVICES.values()} == theirs
    assert SERVICES.keys() == PLAYGROUND["services"].keys()


def test_only_the_control_plane_is_published_on_the_loopback() -> None:
    published = {name: each["ports"] for name, each in SERVICES.items() if "ports" in each}
    assert published == {
        "metaserver": ["127.0.0.1:7700:7700"],
        "dashboard": ["127.0.0.1:7701:7701"],
    }


def test_every_container_has_limits() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "mem_limit" in service, name


def test_secrets_come_from_files_that_the_script_makes(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    files = {each["file"].removeprefix("./secrets/") for each in COMPOSE["secrets"].values()}
    assert files <= {path.name for path in tmp_path.iterdir()}
    used = {name for each in SERVICES.values() for name in each.get("secrets", ())}
    assert used == COMPOSE["secrets"].keys()
    assert (tmp_path.stat().st_mode & 0o777) == 0o700
    assert not re.search(
        r"(?i)password[=:] *\S", TEXT.replace("password: {file:", "").replace("-file=", "")
    )


def test_every_placeholder_is_filled_and_passwords_stay(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    for name, text in before.items():
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert not re.search(r"[A-Z]+_PASSWORD|MAXMEMORY", "\n".join(lines)), name
    assert len({before[f"{user}.password"] for user in ("app", "metaserver", "replica")}) == 3
    make_secrets(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_every_instance_is_a_member_of_the_pool_that_is_made() -> None:
    masters = {word.rpartition("=")[2] for word in SERVICES["init"]["command"] if "--shard" in word}
    addresses = {
        f"{each['networks']['cache']['ipv4_address']}:6379"
        for each in SERVICES.values()
        if each.get("command", [""])[0] == "redis" and "--replicaof" not in each["command"]
    }
    assert masters == addresses
    for name, each in SERVICES.items():
        if each.get("entrypoint"):
            assert each["command"][1] == each["networks"]["cache"]["ipv4_address"], name
