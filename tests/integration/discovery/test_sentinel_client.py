"""Look-ups at real Sentinels: in order, with minimal permissions, past dead or lying ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

import cachemesh
from cachemesh import CacheMesh
from cachemesh.core.names import parse_address
from cachemesh.discovery.sentinel import SentinelClient
from cachemesh.discovery.sentinel_connection import SentinelOptions
from cachemesh.local import LocalStack
from tests.support import rogue_server
from tests.support.plain_redis import direct
from tests.support.sentinels import (
    agreed,
    fail_over,
    follower_threads,
    following,
    keep_masters,
    master_of,
    pool_file,
    sentinel,
)
from tests.support.waiting import AT_MOST, in_time, until

NOBODY = "127.0.0.1:1"
# redis.io, "High availability with Redis Sentinel", for clients of Sentinel
LEAST_RIGHTS = (
    *("-@all", "+auth", "+client|getname", "+client|id", "+client|setname", "+command", "+hello"),
    *("+ping", "+role", "+sentinel|get-master-addr-by-name", "+sentinel|master"),
    *("+sentinel|myid", "+sentinel|replicas", "+sentinel|sentinels"),
)
SHARDS = ["cache-0", "cache-1"]


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=1, metaservers=0) as running:
        keep_masters(running)
        yield running


@pytest.fixture
def addresses(stack: LocalStack) -> list[str]:
    return list(stack.info["sentinels"])


@pytest.fixture
def least_rights(addresses: list[str]) -> Iterator[str]:
    """Yield the query string of a user with the documented permissions and no others."""
    for address in addresses:
        with direct(address) as client:
            client.execute_command("ACL", "SETUSER", "app", "ON", ">s3cret", *LEAST_RIGHTS)
            client.execute_command("ACL", "LOG", "RESET")
    yield "sentinel_username=app&sentinel_password=s3cret"
    for address in addresses:
        with direct(address) as client:
            client.execute_command("ACL", "DELUSER", "app")


def test_dead_sentinels_are_passed_over_once(stack: LocalStack, addresses: list[str]) -> None:
    sentinels = SentinelClient([NOBODY, *addresses])
    found = sentinels.look_up(SHARDS)
    assert found.masters == {shard: master_of(stack, shard) for shard in SHARDS}
    assert sentinels.calls == 2
    assert str(sentinels.addresses[0]) == addresses[0], "who answered is asked first"
    sentinels.look_up(SHARDS)
    assert sentinels.calls == 3
    sentinels.close()


def test_nobody_answers_or_nobody_knows(addresses: list[str]) -> None:
    with pytest.raises(cachemesh.SentinelUnavailableError, match=rf"No Sentinel .*{NOBODY}"):
        SentinelClient([NOBODY]).master("cache-0")
    sentinels = SentinelClient([NOBODY, *addresses])
    with pytest.raises(cachemesh.MasterNotFoundError, match="monitors a master named 'nope'"):
        sentinels.master("nope")
    sentinels.close()


def test_a_sentinel_that_knows_no_such_master_is_passed_over(
    stack: LocalStack, addresses: list[str]
) -> None:
    with rogue_server.Server(rogue_server.sentinel({})) as ignorant:
        sentinels = SentinelClient([str(ignorant), *addresses])
        assert sentinels.master("cache-0") == master_of(stack, "cache-0")
        assert str(sentinels.addresses[0]) == addresses[0]
        sentinels.close()


def test_the_connection_stays_for_the_next_look_up(stack: LocalStack, addresses: list[str]) -> None:
    def received() -> int:
        with direct(addresses[0]) as client:
            return int(client.info("stats")["total_connections_received"])

    sentinels = SentinelClient(addresses[:1])
    sentinels.look_up(SHARDS)
    before = received()
    for _ in range(5):
        sentinels.look_up(SHARDS)
    assert received() - before <= 3, "this test's own, and what Sentinels make"
    with direct(addresses[0]) as client:
        client.client_kill_filter(_type="normal", skipme=True)
    assert sentinels.master("cache-0") == master_of(stack, "cache-0"), "a lost one costs nothing"
    sentinels.close()


def test_a_stalled_sentinel_costs_one_timeout(stack: LocalStack, addresses: list[str]) -> None:
    sentinels = SentinelClient(addresses, SentinelOptions(timeout=0.3))
    sentinels.look_up(SHARDS)
    process = stack.process(str(sentinels.addresses[0]))
    process.pause()
    try:
        started, before = time.monotonic(), sentinels.calls
        sentinels.look_up(SHARDS)
        in_time(time.monotonic() - started, 0.3)
        assert sentinels.calls == before + 2
        sentinels.look_up(SHARDS)
        assert sentinels.calls == before + 3, "the next is not asked of it"
    finally:
        process.resume()
        sentinels.close()


def test_peers_are_learned_and_asked_when_the_given_ones_fail(
    stack: LocalStack, addresses: list[str]
) -> None:
    until(lambda: len(sentinel(addresses[0], "SENTINELS", "cache-0")) == 2)
    sentinels = SentinelClient(addresses[:1])
    sentinels.look_up(SHARDS)
    assert {str(address) for address in sentinels.addresses} == set(addresses)
    process, master = stack.process(addresses[0]), master_of(stack, "cache-0")
    process.pause()  # for less than the 2 s after which it would mistrust its clock (TILT)
    try:
        assert sentinels.master("cache-0") == master
    finally:
        process.resume()
        sentinels.close()


def test_replicas_that_are_down_are_left_out(stack: LocalStack, addresses: list[str]) -> None:
    sentinels = SentinelClient(addresses)
    until(lambda: sentinels.look_up(["cache-0"], with_replicas=True).replicas["cache-0"])
    (replica,) = sentinels.look_up(["cache-0"], with_replicas=True).replicas["cache-0"]
    assert replica != master_of(stack, "cache-0")
    process = stack.process(str(replica))
    keep_masters(stack, milliseconds=1000)
    process.pause()
    try:
        until(lambda: not sentinels.look_up(["cache-0"], with_replicas=True).replicas["cache-0"])
    finally:
        process.resume()
    until(lambda: sentinels.look_up(["cache-0"], with_replicas=True).replicas["cache-0"])
    keep_masters(stack)
    assert sentinels.look_up(["cache-0"]).replicas == {}
    sentinels.close()


def test_the_documented_rights_suffice(
    stack: LocalStack, addresses: list[str], least_rights: str
) -> None:
    url = f"cachemesh+sentinel://{','.join(addresses)}/cache?{least_rights}"
    with CacheMesh.from_url(url) as mesh, following(url) as member:
        member.want_replicas()
        assert mesh.mset({"a": 1, "b": 2, "c": 3}) is True
        assert set(mesh.topology.masters) == set(SHARDS)
        until(lambda: len(member.topology().replicas) == 2)
        old, new = fail_over(stack, "cache-1")
        # Without a subscription, by polling.
        assert member.wait_for_master("cache-1", old, AT_MOST) == new
        key = next(f"k{i}" for i in range(99) if mesh.shard_for(f"k{i}") == "cache-1")
        assert mesh.set(key, 1) is True
    denied = set()
    for address in addresses:
        with direct(address) as client:
            denied |= {entry["object"] for entry in client.acl_log()}
    # Before 7.0 the log names the command alone.
    assert denied <= {"sentinel|masters", "sentinel", "subscribe"}


def test_names_of_another_form_can_be_given(
    stack: LocalStack, addresses: list[str], least_rights: str
) -> None:
    url = f"cachemesh+sentinel://{','.join(addresses)}/web?{least_rights}"
    nameless = CacheMesh.from_url(url)
    with nameless, pytest.raises(cachemesh.PoolNotFoundError, match="shards=NAME,NAME"):
        nameless.get("a")
    with CacheMesh.from_url(url, shards="cache-1,cache-0") as mesh:
        assert mesh.set("a", 1) is True
        assert mesh.topology.document.placement.names == ("cache-0", "cache-1")
    for wrong in ("", "a,,b", "a b"):
        with pytest.raises(cachemesh.ConfigurationError, match="shards takes NAME,NAME"):
            CacheMesh.from_url(url, shards=wrong)
    with pytest.raises(cachemesh.ConfigurationError, match="sentinel:// alone"):
        CacheMesh.from_url("cachemesh://m/cache?shards=a")


def test_a_wrong_password_is_told_and_not_shown(addresses: list[str], least_rights: str) -> None:
    url = f"cachemesh+sentinel://{','.join(addresses)}/cache"
    with CacheMesh.from_url(url, sentinel_username="app", sentinel_password="wr0ng") as mesh:
        with pytest.raises(cachemesh.SentinelUnavailableError, match="password") as caught:
            mesh.get("a")
        assert "wr0ng" not in str(caught.value)


def test_host_names_are_taken_as_they_are(stack: LocalStack, addresses: list[str]) -> None:
    master = master_of(stack, "cache-0")
    answer = rogue_server.sentinel({"cache": ("localhost", master.port)})
    with rogue_server.Server(answer) as naming:
        sentinels = SentinelClient([f"localhost:{naming.address[1]}"])
        assert sentinels.master("cache") == parse_address(f"localhost:{master.port}")
        sentinels.close()
        url = f"cachemesh+sentinel://{naming}/cache?shards=cache"
        with CacheMesh.from_url(url) as mesh:
            assert mesh.ping() is True


def test_a_liar_is_doubted_once_its_master_does_not_serve(
    stack: LocalStack, addresses: list[str], tmp_path: Path
) -> None:
    until(lambda: all(agreed(stack, shard) for shard in SHARDS))
    nowhere = parse_address(NOBODY)
    lies = rogue_server.sentinel(dict.fromkeys(SHARDS, ("127.0.0.1", 1)))
    with rogue_server.Server(lies) as liar:
        url = pool_file(tmp_path / "p.json", [str(liar), *addresses], SHARDS, poll_interval=600)
        with following(url) as member:
            assert member.topology().masters["cache-0"] == nowhere
            found = member.wait_for_master("cache-0", nowhere, AT_MOST)
            assert found == master_of(stack, "cache-0")
            found_too = member.wait_for_master("cache-1", nowhere, AT_MOST)
            assert found_too == master_of(stack, "cache-1")
            before = member.calls
            member.look_up_master("cache-0", found)
            assert member.calls - before <= 1
        with CacheMesh.from_url(url) as mesh:
            until(lambda: _sets(mesh))


def _sets(mesh: CacheMesh) -> bool:
    try:
        return bool(mesh.mset({"a": 1, "b": 2, "c": 3}))
    except redis.ConnectionError:
        return False


def test_without_any_sentinel_the_last_masters_go_on(
    stack: LocalStack, addresses: list[str], tmp_path: Path
) -> None:
    url = pool_file(tmp_path / "p.json", addresses, SHARDS, poll_interval=0.5)
    processes = [stack.process(address) for address in addresses]
    with CacheMesh.from_url(url) as mesh, following(url) as member:
        masters = dict(member.topology().masters)
        for process in processes[:2]:
            process.pause()
        try:
            assert mesh.mset({"a": 1, "b": 2, "c": 3}) is True
            assert member.look_up_master("cache-0", masters["cache-0"], 5) == masters["cache-0"]
            processes[2].pause()
            with pytest.raises(cachemesh.SentinelUnavailableError):
                for _ in range(100):
                    member.look_up_master("cache-0", masters["cache-0"], 5)
                    time.sleep(0.1)
            before, started = member.calls, time.monotonic()
            while time.monotonic() - started < 4:
                with pytest.raises(cachemesh.SentinelUnavailableError):
                    member.look_up_master("cache-0", masters["cache-0"])
            assert member.calls - before <= 3 * (time.monotonic() - started)
            assert mesh.mset({"a": 1, "b": 2, "c": 3}) is True
            assert member.topology().masters == masters
        finally:
            for process in processes:
                process.resume()

        def knows() -> bool:
            try:
                return member.look_up_master("cache-0", masters["cache-0"]) is not None
            except cachemesh.SentinelUnavailableError:
                return False

        until(knows)
    assert follower_threads() == [] or until(lambda: follower_threads() == [])
