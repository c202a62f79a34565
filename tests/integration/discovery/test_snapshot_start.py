"""Apps start, and go on, while nobody of the control plane answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachemesh.core.errors import MetaserverUnavailableError
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.snapshot import SnapshotFile, read_snapshot
from cachemesh.local import LocalStack
from tests.support.both_clients import CLIENTS, calling
from tests.support.plain_redis import direct
from tests.support.sentinels import fail_over, keep_masters, master_of
from tests.support.waiting import AT_MOST, in_time, until

KEYS = {f"k{number}": str(number).encode() for number in range(50)}


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, dashboard=False, timeout=AT_MOST) as running:
        keep_masters(running)
        yield running


def stored(directory: Path, version: int = 1) -> bool:
    """Return whether a snapshot of that version, or of a later one, is in the directory."""
    found = list(directory.glob("*.json"))
    return bool(found) and read_snapshot(found[0]).version >= version


@pytest.fixture(autouse=True)
def resumed(stack: LocalStack) -> Iterator[None]:
    """Let Sentinels go on, and the metaserver be there, after each test."""
    yield
    for address in stack.info["sentinels"]:
        stack.process(address).resume()
    metaserver = stack.process(stack.info["metaservers"][0])
    if metaserver.poll() is not None:
        metaserver.restart(AT_MOST)


@pytest.mark.parametrize("kind", CLIENTS)
def test_an_app_starts_from_the_snapshot_and_follows_whoever_answers(
    kind: str, stack: LocalStack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"token": stack.token, "snapshot_dir": str(tmp_path)}
    url, api = stack.info["url"], MetaserverClient(stack.info["metaservers"], stack.token)
    version = api.request("GET", "/v1/pools/cache")["version"]
    metaserver = stack.process(stack.info["metaservers"][0])
    sentinels = [stack.process(address) for address in stack.info["sentinels"]]
    with calling(kind, url, **options) as before:
        before.driven.mset(KEYS)
        until(lambda: stored(tmp_path, version))
        metaserver.kill()
        options["sentinel_timeout"] = 0.4  # or it would follow together with the one before
        with calling(kind, url, **options) as app:
            assert app.driven.mget(list(KEYS)) == list(KEYS.values())
            told = app.mesh.health().topology
            assert (told.version, told.source) == (version, "snapshot")
            assert not told.source_answers
            until(lambda: app.mesh.health().topology.masters_from == "sentinel")
            assert f"version {version} of a snapshot" in repr(app.mesh)
            old, new = fail_over(stack, "cache-0")  # followed without a metaserver
            until(lambda: app.mesh.master_of("cache-0") == new)
            until(lambda: before.mesh.master_of("cache-0") == new)
            app.driven.mset(KEYS)

        (path,) = tmp_path.glob("*.json")
        until(lambda: read_snapshot(path).topology.masters["cache-0"] == new)
        make_stale(path, old)
        with direct(str(old)) as former:
            until(lambda: former.role()[0] == "slave")
        for sentinel in sentinels:
            sentinel.pause()
        began = time.monotonic()
        with calling(kind, url, **options) as app:
            assert app.driven.mget(list(KEYS)) == list(KEYS.values())
            in_time(time.monotonic() - began, 1.0)
            app.driven.mset(KEYS)  # the former master is a replica now, and names the present one
            assert app.mesh.master_of("cache-0") == new
            told = app.mesh.health().topology
            assert (told.masters_from, told.control_plane_answers) == ("snapshot", False)
            for sentinel in sentinels:
                sentinel.resume()
            metaserver.restart(AT_MOST)
            until(lambda: app.mesh.health().topology.control_plane_answers)
            assert app.mesh.health().topology.source == "metaserver"
            changed = api.request(
                "PATCH", "/v1/pools/cache/settings", {"settings": {"poll_interval": 2}}
            )
            until(lambda: app.mesh.health().topology.version == changed["version_after"])
    starts = [each for each in caplog.messages if "starts from the snapshot" in each]
    assert len(starts) == 2, "each app says so once"
    assert stack.token is not None
    assert stack.token not in path.read_text() + caplog.text


def make_stale(path: Path, master: Any) -> None:
    """Have a snapshot name another master of cache-0."""
    snapshot = read_snapshot(path)
    path.unlink()
    file = SnapshotFile(path.parent, snapshot.source, "cache")
    file.store(snapshot.topology.with_masters({"cache-0": master}), 60.0)
    assert file.path == path


def test_without_a_snapshot_the_error_is_as_ever(stack: LocalStack, tmp_path: Path) -> None:
    metaserver = stack.process(stack.info["metaservers"][0])
    metaserver.kill()
    with (
        calling("sync", stack.info["url"], snapshot_dir=str(tmp_path)) as app,
        pytest.raises(MetaserverUnavailableError),
    ):
        app.driven.get("k1")


def test_sentinels_alone(stack: LocalStack, tmp_path: Path) -> None:
    sentinels = [stack.process(address) for address in stack.info["sentinels"]]
    url = f"cachemesh+sentinel://{','.join(stack.info['sentinels'])}/cache"
    with calling("sync", url, snapshot_dir=str(tmp_path)) as app:
        app.driven.mset(KEYS)
        until(lambda: stored(tmp_path))
    for sentinel in sentinels:
        sentinel.pause()
    with calling("sync", url, snapshot_dir=str(tmp_path)) as app:
        assert app.driven.mget(list(KEYS)) == list(KEYS.values())
        assert app.mesh.health().topology.source == "snapshot"
        for sentinel in sentinels:
            sentinel.resume()
        until(lambda: app.mesh.health().topology.source == "sentinel")
        assert app.mesh.master_of("cache-1") == master_of(stack, "cache-1")
