"""All Python in README and docs runs, and does what the page says."""

from __future__ import annotations

import lzma
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
import redis
from django.conf import settings
from redis.cluster import RedisCluster

from cachemesh import CacheMesh
from cachemesh.local import LocalStack
from tests.support.python_blocks import PAGES, ROOT, module_of, python_of
from tests.support.waiting import until

WITH_PYTHON = [page for page in PAGES if python_of(page)]


@pytest.fixture(autouse=True)
def deployment(
    cachemesh_stack: LocalStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> LocalStack:
    for name, value in cachemesh_stack.info["env"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    ids = struct.pack(">1000i", *(number % 100 for number in range(1000)))
    (tmp_path / "shop.trace.xz").write_bytes(lzma.compress(ids))
    (tmp_path / "secrets").mkdir()
    for name in ("shop.token", "secrets/app.password"):
        (tmp_path / name).write_text("secret")
    return cachemesh_stack


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: str(page.relative_to(ROOT)))
def test_it_runs(page: Path, tmp_path: Path) -> None:
    with module_of(page, tmp_path):
        pass


@pytest.fixture
def migrating(tmp_path: Path) -> Iterator[Any]:
    with module_of(ROOT / "docs" / "migrating.md", tmp_path) as module:
        yield module


def test_keys_are_copied_from_a_redis_cluster(
    migrating: Any, cachemesh_stack: LocalStack, cachemesh_client: CacheMesh
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        bus = free.getsockname()[1]
    server = cachemesh_stack.start_redis(None, f"cluster-enabled yes\ncluster-port {bus}")
    with redis.Redis(host=server.address.host, port=server.address.port) as node:
        node.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16_383)
        until(lambda: node.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
    with RedisCluster(host=server.address.host, port=server.address.port) as cluster:
        for number in range(200):
            cluster.set(f"key:{number}", number, ex=1000 if number % 2 else None)
        cluster.hset("hash", mapping={"a": "1"})
        cachemesh_client.set("key:7", "newer")
        assert migrating.copy(cluster, cachemesh_client) == 200
        assert migrating.copy(cluster, cachemesh_client) == 0
    assert cachemesh_client.mget("key:7", "key:8", "key:199") == [b"newer", b"8", b"199"]
    assert cachemesh_client.hgetall("hash") == {b"a": b"1"}
    assert 900 < cachemesh_client.ttl("key:9") <= 1000
    assert cachemesh_client.ttl("key:8") == -1


def test_django_on_a_mesh(migrating: Any, cachemesh_client: CacheMesh) -> None:
    settings.configure(
        CACHES={
            name: {**options, "BACKEND": f"{migrating.__name__}.MeshCache"}
            for name, options in migrating.CACHES.items()
        }
    )
    django.setup()
    from django.core.cache import cache

    cache.set("one", {"a": [1, 2]}, timeout=60)
    assert cache.get("one") == {"a": [1, 2]}
    assert cachemesh_client.exists(":1:one") == 1
    cache.set_many({f"k{number}": number for number in range(50)}, timeout=60)
    assert cache.get_many([f"k{number}" for number in range(50)]) == {
        f"k{number}": number for number in range(50)
    }
    assert cache.add("k1", 7) is False and cache.add("new", 7) is True
    assert (cache.incr("k1"), cache.decr("k1", 2)) == (2, 0)
    assert cache.touch("k2", 100) and cache.has_key("k2")
    assert cache.get_or_set("made", lambda: "x") == "x"
    assert cache.delete("k3") and cache.get("k3") is None
    cache.delete_many(["k4", "k5"])
    assert cache.get_many(["k4", "k5", "k6"]) == {"k6": 6}
    cache.clear()
    assert cache.get("k6") is None and cachemesh_client.dbsize() == 0


def test_flask_caching_on_a_mesh(migrating: Any, cachemesh_client: CacheMesh) -> None:
    calls = []

    def double(number: int) -> int:
        calls.append(number)
        return 2 * number

    doubled = migrating.cache.memoize()(double)
    with migrating.app.app_context():
        assert [doubled(2), doubled(2), doubled(3)] == [4, 4, 6]
        assert calls == [2, 3]
        migrating.cache.delete_memoized(doubled)
        assert doubled(2) == 4 and calls == [2, 3, 2]
        migrating.cache.set_many({f"k{number}": number for number in range(50)})
        assert migrating.cache.get_many("k1", "k49", "k50") == [1, 49, None]
        assert migrating.cache.delete_many("k1", "k2")
        assert migrating.cache.get("k1") is None
        assert any(key.startswith(b"shop:") for key in cachemesh_client.scan_iter("shop:*"))
        migrating.cache.clear()
        assert migrating.cache.get("k3") is None


def test_no_client_is_left() -> None:
    until(lambda: not [each for each in threading.enumerate() if "cachemesh-" in each.name])
