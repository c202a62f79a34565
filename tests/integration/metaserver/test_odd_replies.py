"""Each command of the metaserver, with hostile replies: a Redis error in time, or a value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from cachemesh.core.placement import Shard, SlotsPlacement
from metaserver.failover.participant_instance import ParticipantInstance
from metaserver.failover.participant_sentinel import ParticipantSentinel
from metaserver.loops.instance_sweep import InstanceSweep
from metaserver.process.config import Config, RedisAuth
from metaserver.redis_io.admission import check_new_master
from metaserver.redis_io.allowed_networks import InstanceRejected
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.key_sampler import Sampling, memory_of, sample_of
from metaserver.redis_io.move_probe import MoveProbe
from metaserver.redis_io.open_connections import ask_connections
from metaserver.redis_io.resp import LARGE
from metaserver.redis_io.sentinel_group import SentinelGroup
from tests.support.malformed_replies_to_metaserver import (
    ANY,
    LyingServer,
    Odd,
    array,
    bulk,
    info,
    words,
)
from tests.support.metaserver_loops import NETWORKS
from tests.support.waiting import until

NOBODY = RedisAuth()
TIMEOUT = 0.1
PLACEMENT = SlotsPlacement.even([Shard("bad-0")])
OK = b"+OK\r\n"
HONEST = {
    **dict.fromkeys(("AUTH", "SELECT", "MULTI", "CLIENT", "SET", "MONITOR", "REMOVE"), OK),
    **dict.fromkeys(("REPLICAOF", "REWRITE", "FAILOVER", "RESET"), OK),
    "ROLE": array(bulk("master"), b":7\r\n", array()),
    "INFO": info(),
    "SCAN": array(bulk("0"), array(bulk("a"), bulk("b"))),
    "UNLINK": b":0\r\n",
    "DEL": b":0\r\n",
    "MEMORY": b":100\r\n",
    "TYPE": b"+string\r\n",
    "TIME": words(1, 2),
    "MIGRATE": OK,
    "EXISTS": b":1\r\n",
    "PUBLISH": b":0\r\n",
    "WAIT": b":0\r\n",
    "CONFIG": words("replica-priority", "100"),
    "GET-MASTER-ADDR-BY-NAME": b"*-1\r\n",
    "MASTERS": array(),
    "MASTER": words("name", "bad-0", "flags", "master"),
    "REPLICAS": array(),
    "SENTINELS": array(),
    "MYID": bulk("a" * 40),
    "CKQUORUM": OK,
}


def look(address: str) -> None:
    check_new_master(address, NOBODY, allowed=NETWORKS, timeout=TIMEOUT)


def log_in(address: str) -> None:
    BoundedConnection(address, NETWORKS, RedisAuth("user", "pass"), TIMEOUT).call("ROLE")


def sweep(address: str) -> None:
    rounds = iter(range(3))

    def placement() -> SlotsPlacement:
        if next(rounds, None) is None:
            raise redis.RedisError("that is enough")
        return PLACEMENT

    connection = BoundedConnection(address, NETWORKS, NOBODY, TIMEOUT, LARGE)
    InstanceSweep(connection, "gone", placement, lambda count: None).run()


def sample(address: str) -> None:
    connection = BoundedConnection(address, NETWORKS, NOBODY, TIMEOUT, LARGE)
    used = memory_of(connection).used
    look_at = Sampling(big_key=1)
    found = sample_of(connection, "bad-0", lambda keys: ((k, "t") for k in keys), look_at, used)
    for told in (found.keys_to("t"), found.bytes_to("t"), found.bytes_to("u")):
        assert 0 <= told.low <= told.value <= told.high
    assert all(isinstance(key.to_dict()["type"], str) for key in found.big)


def try_move(address: str) -> None:
    config = Config(Path("none"), instance_timeout=TIMEOUT)
    with MoveProbe(config, NETWORKS, {"s": address, "t": address}) as probe:
        probe.try_move("s", "t")


def list_connections(address: str) -> None:
    config = Config(Path("none"), instance_timeout=TIMEOUT)
    told = ask_connections(address, 20, config, NETWORKS)
    assert isinstance(told, str) or json.dumps(told.to_dict())


def instance(address: str) -> ParticipantInstance:
    return ParticipantInstance(address, address, NETWORKS, NOBODY, TIMEOUT)


def sentinel(address: str) -> ParticipantSentinel:
    return ParticipantSentinel(address, "bad-0", NETWORKS, NOBODY, TIMEOUT)


def sentinels(address: str) -> SentinelGroup:
    return SentinelGroup([address], NETWORKS, NOBODY, timeout=TIMEOUT)


ASKED: dict[str, Callable[[str], object]] = {
    "AUTH": log_in,
    "ROLE": look,
    "INFO": look,
    "SELECT": sweep,
    "SCAN": sweep,
    "UNLINK": sweep,
    "MEMORY": sample,
    "TYPE": sample,
    "TIME": try_move,
    "MIGRATE": try_move,
    "EXISTS": try_move,
    "PUBLISH": try_move,
    "WAIT": try_move,
    "CONFIG": lambda at: instance(at).setting("replica-priority"),
    "MULTI": lambda at: instance(at).forbidden(),
    "CLIENT": lambda at: instance(at).pause_fenced(100, 1),
    "REPLICAOF": lambda at: instance(at).replicate("127.0.0.1:1"),
    "REPLICAS": lambda at: sentinel(at).replicas(),
    "MASTER": lambda at: sentinel(at).in_progress(),
    "GET-MASTER-ADDR-BY-NAME": lambda at: sentinel(at).announcement(),
    "MYID": lambda at: sentinel(at).announcement(),
    "MASTERS": lambda at: sentinels(at).monitored(),
    "MONITOR": lambda at: sentinels(at).register("bad-0", "127.0.0.1:1", 1, NOBODY),
    "CKQUORUM": lambda at: sentinels(at).views(["bad-0"]),
}
REFUSED = (redis.RedisError, InstanceRejected)


@pytest.fixture(scope="module")
def liar() -> Iterator[LyingServer]:
    with LyingServer(HONEST) as liar:
        yield liar


@pytest.mark.parametrize("name", ANY)
@pytest.mark.parametrize("command", ASKED)
def test_any_odd_reply_is_an_error_of_redis(liar: LyingServer, command: str, name: str) -> None:
    answered(liar, command, ANY[name])


@pytest.mark.parametrize("name", ANY)
def test_any_odd_list_of_connections_is_told_as_what_it_is(liar: LyingServer, name: str) -> None:
    answered(liar, "CLIENT", ANY[name], list_connections)


@pytest.mark.parametrize(
    "odd", [info("used_memory:-1", "db0:keys=-3"), info(f"db0:keys={2**62}", "db7:keys=5"), info()]
)
def test_what_a_sample_is_told_of_numbers(liar: LyingServer, odd: bytes) -> None:
    answered(liar, "INFO", odd, sample)


def answered(
    liar: LyingServer, command: str, odd: Odd, ask: Callable[[str], object] | None = None
) -> None:
    """Ask a server that lies in one command until it has: that is an error, or a value."""
    told = liar.told

    def was_told() -> bool:
        try:
            (ask or ASKED[command])(str(liar))
        except REFUSED as error:
            assert len(str(error)) < 500
        return liar.told > told  # not if an honest reply before came too late, on a busy machine

    liar.lies[command] = odd
    try:
        until(was_told)
    finally:
        liar.lies.clear()


@pytest.mark.parametrize(
    ("command", "odd"),
    [
        ("SCAN", array(b":0\r\n", array())),
        ("SCAN", array(bulk("x"), array())),
        ("SCAN", array(bulk("0"), array(b":1\r\n", array()))),
        ("SCAN", array(bulk("0"), bulk("abc"))),
        ("UNLINK", b":9223372036854775807\r\n"),
        ("UNLINK", b":-1\r\n"),
        ("INFO", bulk(f"redis_version:7\r\ndb{'9' * 5000}:keys=1")),
        ("ROLE", array(bulk("slave"), bulk("a\nb"), b":1\r\n", bulk("connected"), b":1\r\n")),
        ("ROLE", array(bulk("slave"), bulk("127.0.0.1"), b":0\r\n", bulk("connect"), b":1\r\n")),
        ("ROLE", array(bulk("x" * 100_000))),
        ("MASTERS", array(*[words("name", "m", "ip", "127.0.0.1")] * 100_000)),
        ("MASTERS", array(words("name", "a\r\n\x1b[2J", "ip", "127.0.0.1", "port", 1))),
    ],
)
def test_odd_replies_of_one_command(liar: LyingServer, command: str, odd: bytes) -> None:
    answered(liar, command, odd)
