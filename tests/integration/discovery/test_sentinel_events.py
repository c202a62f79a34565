"""Failover events: from whichever Sentinel still sends them, and what happens without any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.failover.forwarder import Forwarder
from cachemesh.discovery.sentinel import SentinelClient
from cachemesh.discovery.sentinel_source import SentinelSource
from cachemesh.discovery.wakeup import StopEvent
from cachemesh.local import LocalStack
from tests.support import rogue_server
from tests.support.plain_redis import direct
from tests.support.sentinels import agreed, fail_over, following, keep_masters, master_of, pool_file
from tests.support.waiting import until

SELDOM = 600.0
"""A poll_interval, in seconds, that does not pass during a test."""


LONER = "sentinel_username=loner&sentinel_password=s3cret"
"""A user who may not ask for other Sentinels, so the client knows only those behind a forwarder."""


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, replicas=1, metaservers=0) as running:
        keep_masters(running)
        yield running


@pytest.fixture
def forwarders(stack: LocalStack) -> Iterator[list[Forwarder]]:
    rights = ("+ping", "+subscribe", "+sentinel|get-master-addr-by-name", "allchannels")
    for address in stack.info["sentinels"]:
        with direct(address) as client:
            client.execute_command("ACL", "SETUSER", "loner", "ON", ">s3cret", *rights)
    with ExitStack() as several:
        yield [several.enter_context(Forwarder(each)) for each in stack.info["sentinels"]]


@pytest.fixture(autouse=True)
def quiet(stack: LocalStack) -> None:
    """Wait until no event of the previous test's failover is pending."""
    until(lambda: agreed(stack, "cache-0"))


def subscribers(address: str) -> int:
    with direct(address) as client:
        return len(client.client_list(_type="pubsub"))


def test_a_failover_is_heard_without_any_poll(stack: LocalStack, tmp_path: Path) -> None:
    sentinels = stack.info["sentinels"]
    url = pool_file(tmp_path / "p.json", sentinels, ["cache-0"], poll_interval=SELDOM)
    with following(url) as member:
        member.topology()
        until(lambda: all(subscribers(address) == 1 for address in sentinels))
        _, new = fail_over(stack, "cache-0")
        until(lambda: member.topology().masters["cache-0"] == new)
        assert member.calls == 1, "that of the beginning"
        stack.process(sentinels[2]).restart()
        until(lambda: subscribers(sentinels[2]) == 1)
        until(lambda: member.calls == 2)  # what may have been missed is asked for, once
    until(lambda: not any(subscribers(address) for address in sentinels))


def test_one_sentinel_that_speaks_is_enough(
    stack: LocalStack, forwarders: list[Forwarder], tmp_path: Path
) -> None:
    addresses = [str(each) for each in forwarders]
    url = pool_file(tmp_path / "p.json", addresses, ["cache-0"], poll_interval=SELDOM)
    for forwarder in forwarders[:2]:
        forwarder.deaf = True
    with following(f"{url}?{LONER}") as member:
        member.topology()
        until(lambda: subscribers(stack.info["sentinels"][2]))
        _, new = fail_over(stack, "cache-0")
        until(lambda: member.topology().masters["cache-0"] == new)
        assert member.calls == 1


def test_where_all_are_deaf_the_poll_finds_out(
    stack: LocalStack, forwarders: list[Forwarder], tmp_path: Path
) -> None:
    url = pool_file(tmp_path / "p.json", [str(each) for each in forwarders], ["cache-0"])
    for forwarder in forwarders:
        forwarder.deaf = True
    with following(f"{url}?{LONER}") as member:
        member.topology()
        until(lambda: all(subscribers(address) for address in stack.info["sentinels"]))
        _, new = fail_over(stack, "cache-0")
        until(lambda: member.topology().masters["cache-0"] == new)


def test_a_subscription_that_went_silent_is_made_anew(
    stack: LocalStack, forwarders: list[Forwarder], tmp_path: Path
) -> None:
    addresses = [str(each) for each in forwarders]
    url = pool_file(tmp_path / "p.json", addresses, ["cache-0"], poll_interval=SELDOM)
    sentinels = stack.info["sentinels"]
    with following(f"{url}?{LONER}") as member:
        member.topology()
        until(lambda: all(subscribers(address) for address in sentinels))
        before = [len(forwarder.connected) for forwarder in forwarders]
        for forwarder in forwarders:
            forwarder.stall()
        until(lambda: all(len(f.connected) > n for f, n in zip(forwarders, before, strict=True)))
        until(lambda: all(subscribers(address) for address in sentinels))
        _, new = fail_over(stack, "cache-0")
        until(lambda: member.topology().masters["cache-0"] == new)


def test_one_sentinel_that_forgot_shards_does_not_shrink_the_pool(stack: LocalStack) -> None:
    master = master_of(stack, "cache-0")
    with ExitStack() as several:
        both = {"cache-0": master, "cache-1": master}
        whole = [_monitoring(both), _monitoring(both)]
        forgetful = _monitoring({"cache-0": master})
        servers = [several.enter_context(rogue_server.Server(each)) for each in (*whole, forgetful)]
        sentinels = SentinelClient([str(server) for server in servers])
        source = SentinelSource(sentinels, "cache", tuple(map(str, servers)))
        assert source.load().placement.names == ("cache-0", "cache-1")
        servers[0].answer = servers[1].answer = forgetful  # as after a change in earnest
        stop = _Hurry()
        assert source.wait(1, stop) is None, "one Sentinel alone is not believed"
        document = source.wait(1, stop)
        assert document is not None
        assert document.placement.names == ("cache-0",)
        assert document.version == 2
        servers[0].answer = servers[1].answer = servers[2].answer = whole[0]
        assert source.wait(2, stop) is None
        servers[0].answer = servers[1].answer = servers[2].answer = forgetful
        assert source.wait(2, stop) is None, "it has been as before"
        sentinels.close()


class _Hurry(StopEvent):
    def wait(self, timeout: float | None = None) -> bool:
        return False


def _monitoring(masters: Mapping[str, object]) -> rogue_server.Answer:
    def answer(words: rogue_server.Words) -> bytes | None:
        if b" ".join(words[:2]).upper() != b"SENTINEL MASTERS":
            return b"-ERR unknown\r\n"
        rows = [b"*2\r\n$4\r\nname\r\n$%d\r\n%s\r\n" % (len(n), n.encode()) for n in masters]
        return b"*%d\r\n" % len(rows) + b"".join(rows)

    return answer
