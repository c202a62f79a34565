"""A server that hangs is waited for once; the others are asked round after round."""

from __future__ import annotations

import os
import signal
import time

import redis

from cachemesh.local import LocalStack, Process
from metaserver.process.config import RedisAuth
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.late_answers import LateAnswers
from metaserver.redis_io.sentinel_group import SentinelGroup
from metaserver.redis_io.sentinel_replies import MonitoredShards
from tests.support.metaserver_loops import NETWORKS
from tests.support.waiting import in_time, until

FOR_EVER = 3600.0


def ping(connection: BoundedConnection) -> bytes:
    reply: bytes = connection.call("PING")
    return reply


def test_a_server_that_hangs_delays_nobody_twice(redises: list[Process]) -> None:
    hangs, lives = (str(process.address) for process in redises[:2])
    connections = {
        address: BoundedConnection(address, NETWORKS, RedisAuth(), 0.2)
        for address in (hangs, lives)
    }
    rounds: LateAnswers[bytes] = LateAnswers()

    def answers(within: float) -> dict[str, bytes | redis.RedisError]:
        return rounds.ask_all(connections, ping, within=within)

    assert answers(5.0) == {hangs: b"PONG", lives: b"PONG"}
    os.kill(redises[0].pid, signal.SIGSTOP)
    try:
        assert isinstance(answers(0.2)[hangs], redis.TimeoutError)
        for _ in range(10):  # each would take an hour
            told = answers(FOR_EVER)
            assert told[lives] == b"PONG"
            assert isinstance(told[hangs], redis.RedisError)
        assert hangs in rounds and lives not in rounds
    finally:
        os.kill(redises[0].pid, signal.SIGCONT)
    until(lambda: answers(FOR_EVER)[hangs] == b"PONG")
    assert hangs not in rounds
    rounds.close()
    for connection in connections.values():
        connection.close()


def test_a_sentinel_that_hangs_delays_one_round_of_views(cachemesh_stack: LocalStack) -> None:
    hangs, *others = cachemesh_stack.info["sentinels"]
    rounds: LateAnswers[MonitoredShards] = LateAnswers()
    with SentinelGroup(
        cachemesh_stack.info["sentinels"], NETWORKS, RedisAuth(), timeout=3.0
    ) as sentinels:
        os.kill(cachemesh_stack.process(hangs).pid, signal.SIGSTOP)
        try:
            assert sentinels.views(["cache-0"], rounds)[hangs].error is not None
            began = time.monotonic()
            for _ in range(10):
                views = sentinels.views(["cache-0"], rounds)
                assert views[hangs].error is not None
                assert all(views[each].shards for each in others)
            in_time(time.monotonic() - began, 1.0)  # 30 s, if each round waited for it
        finally:
            os.kill(cachemesh_stack.process(hangs).pid, signal.SIGCONT)
        until(lambda: sentinels.views(["cache-0"], rounds)[hangs].error is None)
        rounds.close()


def test_one_that_is_asked_no_more_is_let_go(redises: list[Process]) -> None:
    address = str(redises[0].address)
    connection = BoundedConnection(address, NETWORKS, RedisAuth(), FOR_EVER)
    rounds: LateAnswers[bytes] = LateAnswers()
    os.kill(redises[0].pid, signal.SIGSTOP)
    try:
        rounds.ask_all({address: connection}, ping, within=0.1)
        rounds.keep_only(())
        assert address not in rounds
        rounds.close()  # its thread ends, as the connection is cut off
    finally:
        os.kill(redises[0].pid, signal.SIGCONT)
        connection.close()
