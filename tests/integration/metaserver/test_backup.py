"""Backups of a real deployment: taken, restored to an empty store, copied while an app runs."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cachemesh import CacheMesh
from cachemesh.local import LocalStack
from tests.support.metaserver_process import Api, Metaserver
from tests.support.terminal import Run, in_process
from tests.support.waiting import until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=0, dashboard=False) as started:
        admin = Api(started.info["metaservers"][0], started.token)
        for seconds in (3, 4, 5):
            settings = {"settings": {"poll_interval": seconds}}
            assert admin("PATCH", "/v1/pools/cache/settings", settings).status == 200
        yield started


@pytest.fixture
def run_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Mapping[str, str]], Run]:
    """Return what runs the command in an environment."""
    return lambda env: in_process(env, monkeypatch, capsys)


def env_of(api: Api) -> dict[str, str]:
    return {"CACHEMESH_URL": f"cachemesh://{api.address}/cache", "CACHEMESH_TOKEN": str(api.token)}


def version(api: Api) -> int:
    return int(api("GET", "/v1/pools/cache").json["version"])


def outcomes(done: Any) -> dict[str, str]:
    return {item["name"]: item["outcome"] for item in done["items"]}


def test_a_lost_database_is_made_again(
    stack: LocalStack, tmp_path: Path, run_on: Callable[[Mapping[str, str]], Run]
) -> None:
    file = tmp_path / "backup.json"
    code, told, _ = run_on(stack.info["env"])("store", "backup", str(file))
    assert (code, told["pools"]) == (0, {"cache": 4})
    assert file.stat().st_mode & 0o777 == 0o600
    assert stack.token not in file.read_text()
    with Metaserver(tmp_path) as fresh:
        run = run_on(env_of(fresh))
        assert run("store", "restore", str(file), "--dry-run")[0] == 6
        assert run("pool", "list")[1]["pools"] == []
        code, done, err = run("store", "restore", str(file))
        assert (code, outcomes(done)) == (0, {"cache": "restored", "admin": "kept"}), err
        assert version(fresh) > 4
        assert outcomes(run("store", "restore", str(file))[1])["cache"] == "kept"
        until(lambda: run("pool", "status")[0] == 0)  # every Sentinel still knows each shard
        until(lambda: not run("pool", "status")[1]["sweeps"])
        with CacheMesh.from_url(env_of(fresh)["CACHEMESH_URL"], token=fresh.token) as client:
            assert client.set("key", "value")
            assert client.topology.document.settings["poll_interval"] == 5


def test_a_lost_database_is_made_again_from_a_clients_snapshot(
    stack: LocalStack, tmp_path: Path, run_on: Callable[[Mapping[str, str]], Run]
) -> None:
    """The Sentinels go on with the shards that they monitor already."""
    kept = tmp_path / "snapshots"
    url = stack.info["env"]["CACHEMESH_URL"]
    with CacheMesh.from_url(url, token=stack.token, snapshot_dir=str(kept)) as client:
        assert client.set("kept", "value")
        (file,) = until(lambda: list(kept.glob("*.json")))
        before = client.topology.document
    with Metaserver(tmp_path) as fresh:
        run = run_on(env_of(fresh))
        assert run("store", "restore", str(file), "--dry-run")[0] == 6
        code, done, err = run("store", "restore", str(file))
        assert (code, outcomes(done)) == (0, {"cache": "restored"}), err
        assert "a client's snapshot" in done["items"][0]["detail"]
        restored = fresh("GET", "/v1/pools/cache").json
        assert restored["version"] > before.version
        assert restored["placement"] == before.placement.to_dict()
        assert outcomes(run("store", "restore", str(file))[1]) == {"cache": "kept"}
        until(lambda: run("pool", "status")[0] == 0)
        with CacheMesh.from_url(env_of(fresh)["CACHEMESH_URL"], token=fresh.token) as client:
            assert client.get("kept") == b"value"
        whole = file.read_text()
        for text, reason in (
            (whole[: len(whole) // 2], "not JSON"),
            (whole.replace('"confirmed_at":', '"confirmed_at":1'), "checksum is wrong"),
            (json.dumps({"checksum": "x"}), "it has format None"),
            ("[]", "backup"),
        ):
            other = tmp_path / "other.json"
            other.write_text(text)
            code, _, err = run("store", "restore", str(other))
            assert code in (1, 2)
            assert reason in err


def test_running_clients_follow_a_restored_store(
    stack: LocalStack, tmp_path: Path, run_on: Callable[[Mapping[str, str]], Run]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    original, other = Metaserver(first), Metaserver(second)
    with other as there, original as here:
        saved = Api(stack.info["metaservers"][0], stack.token)("GET", "/v1/backup").json
        assert here("POST", "/v1/restore", {"backup": saved}).status == 200
        reader = here("POST", "/v1/tokens", {"name": "app", "role": "read"}).json["token"]
        url = f"cachemesh://{here.address},{there.address}/cache"
        with CacheMesh.from_url(url, token=reader) as client:
            assert client.topology.document.version == version(here)
            token_file = other.token_file
            code, done, err = run_on(env_of(here))(
                *("store", "copy", "--to", f"cachemesh://{there.address}"),
                *("--to-token-file", str(token_file)),
            )
            assert (code, outcomes(done)["app"]) == (0, "restored"), err
            original.signal(signal.SIGKILL)
            change = {"settings": {"poll_interval": 7}}
            assert there("PATCH", "/v1/pools/cache/settings", change).status == 200
            until(lambda: client.topology.document.settings.get("poll_interval") == 7)
            assert client.topology.document.version == version(there)


def test_what_is_no_backup_is_refused(
    stack: LocalStack, tmp_path: Path, run_on: Callable[[Mapping[str, str]], Run]
) -> None:
    run = run_on(stack.info["env"])
    file = tmp_path / "backup.json"
    assert run("store", "backup", str(file))[0] == 0
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2])
    code, _, err = run("store", "restore", str(file))
    assert code == 1
    assert "not JSON" in err
    file.write_text(json.dumps({**json.loads(whole), "taken": "later"}))
    code, _, err = run("store", "restore", str(file))
    assert code == 2
    assert "checksum" in err
    missing = run("store", "backup", str(tmp_path / "no" / "file"))
    assert missing[0] == 1
    assert "directory that you can write to" in missing[2]
