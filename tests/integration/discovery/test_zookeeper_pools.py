"""Clients find metaservers in ZooKeeper, and go on by what ZooKeeper has while none answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from cachemesh.cli import main as cli
from cachemesh.core.errors import CacheMeshError, MetaserverUnavailableError, PoolNotFoundError
from cachemesh.discovery import zookeeper_layout
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from tests.support.both_clients import calling
from tests.support.needs import needs
from tests.support.waiting import AT_MOST, until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    for program in ("java", "/usr/share/java/zookeeper.jar"):
        needs(program)
    with LocalStack(
        shards=2,
        replicas=0,
        sentinels=1,
        metaservers=2,
        zookeeper=True,
        dashboard=False,
        timeout=AT_MOST,
    ) as running:
        yield running


@pytest.fixture
def url(stack: LocalStack) -> Iterator[str]:
    """The pool's URL; whatever the test has killed is there again afterwards."""
    yield f"cachemesh+zk://{stack.info['zookeeper']}/cachemesh/cache"
    for address in (stack.info["zookeeper"], *stack.info["metaservers"]):
        process = stack.process(address)
        if process.poll() is not None:
            process.restart(AT_MOST)


def told(app: Any) -> Any:
    return app.mesh.health().topology


def raise_version(stack: LocalStack) -> int:
    """Write the next version of the pool into ZooKeeper, as a metaserver out of reach would."""
    zk = KazooClient(hosts=f"{stack.info['zookeeper']}/cachemesh")
    zk.start(AT_MOST)
    try:
        path = zookeeper_layout.pool_path("cache")
        (row,) = json.loads(zk.get(path)[0])
        document = json.loads(row["document"])
        version: int = document["version"] + 1
        text = json.dumps({**document, "version": version})
        zk.set(path, json.dumps([{**row, "version": version, "document": text}]).encode())
    finally:
        zk.stop()
        zk.close()
    return version


def test_metaservers_and_zookeeper_come_and_go(stack: LocalStack, url: str, tmp_path: Path) -> None:
    metaservers = [stack.process(address) for address in stack.info["metaservers"]]
    zookeeper = stack.process(stack.info["zookeeper"])
    second = MetaserverClient([stack.info["metaservers"][1]], stack.token)
    options = {"token": stack.token, "snapshot_dir": str(tmp_path)}
    with calling("sync", url, **options) as app:
        assert app.driven.set("key", "value")
        assert (told(app).source, told(app).source_answers) == ("zookeeper", True)
        metaservers[0].kill()
        settings = {"settings": {"poll_interval": 4}}
        version = second.request("PATCH", "/v1/pools/cache/settings", settings)["version_after"]
        until(lambda: told(app).version == version)

        metaservers[1].kill()
        version = raise_version(stack)
        until(lambda: told(app).version == version)  # from ZooKeeper alone
        with calling("sync", url, **options, sentinel_timeout=0.4) as late:
            assert late.driven.get("key") == b"value"
            assert (told(late).source, told(late).version) == ("zookeeper", version)

        until(lambda: any(f'"version":{version}' in f.read_text() for f in tmp_path.glob("*.json")))
        zookeeper.kill()
        with calling("sync", url, **options, sentinel_timeout=0.4) as late:
            assert late.driven.get("key") == b"value"
            assert (told(late).source, told(late).version) == ("snapshot", version)
            assert app.driven.get("key") == b"value"
            zookeeper.restart(AT_MOST)
            until(lambda: told(late).source == "zookeeper")
        for metaserver in metaservers:
            metaserver.restart(AT_MOST)
        settings = {"settings": {"poll_interval": 5}}
        version = second.request("PATCH", "/v1/pools/cache/settings", settings)["version_after"]
        until(lambda: told(app).version == version)


def test_the_command_finds_a_pool_in_zookeeper(
    stack: LocalStack, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHEMESH_URL", url)
    monkeypatch.setenv("CACHEMESH_TOKEN", stack.token)
    assert cli.run(["key", "set", "of the command", "1"]) == 0
    assert cli.run(["key", "get", "of the command"]) == 0
    assert cli.run(["sentinel", "list"]) == 0


def test_what_is_not_there_is_told(stack: LocalStack, url: str) -> None:
    host = stack.info["zookeeper"]
    for wrong, error, reason in (
        (f"cachemesh+zk://{host}/else/cache", CacheMeshError, "no deployment is there"),
        (f"cachemesh+zk://{host}/nothere", PoolNotFoundError, "No pool 'nothere'"),
        ("cachemesh+zk://127.0.0.1:1/cache", MetaserverUnavailableError, "127.0.0.1:1/cachemesh"),
    ):
        with calling("sync", wrong, token=stack.token) as app, pytest.raises(error, match=reason):
            app.driven.get("key")
