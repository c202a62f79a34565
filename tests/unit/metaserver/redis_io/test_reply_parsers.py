"""Replies of instances and Sentinels, honest or not, as values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.names import parse_address
from metaserver.domain.info_fields import MAX_REPLICAS, by_address, keys_in, number, replicas_in
from metaserver.domain.status import pool_status
from metaserver.redis_io import reply_parsers
from metaserver.redis_io.instance_sampler import COUNTERS
from metaserver.redis_io.key_scan import scanned
from metaserver.redis_io.reply_parsers import NotRedisError
from metaserver.redis_io.slow_log import parse_slow_log
from tests.support.pool_observations import MASTER_INFO, observation

WORDS = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([b"master", b"slave", b"ip", b"port", b"name", b"connected", b"0"]),
    st.integers(0, 70_000).map(lambda port: str(port).encode()),
    st.just(b"9" * 5000),
    st.just(b"x" * 300),
)
REPLIES = st.recursive(
    st.one_of(WORDS, st.integers(), st.none()), lambda inner: st.lists(inner, max_size=6)
)
PARSERS: tuple[Callable[[object], Any], ...] = (
    *(
        reply_parsers.parse_info,
        reply_parsers.parse_fields,
        reply_parsers.parse_role,
        reply_parsers.parse_pairs,
        parse_slow_log,
    ),
    *(
        reply_parsers.parse_rows,
        reply_parsers.parse_master,
        reply_parsers.text,
        reply_parsers.word,
        reply_parsers.whole,
    ),
    scanned,
)


@pytest.mark.parametrize("parse", PARSERS)
@given(reply=REPLIES)
def test_any_reply_is_read_or_refused_in_one_way(
    parse: Callable[[object], Any], reply: object
) -> None:
    try:
        parse(reply)
    except NotRedisError as error:
        assert 0 < len(str(error)) < 200


@given(lines=st.lists(st.tuples(st.sampled_from(["db", "slave", "x"]), st.text(), st.text())))
def test_any_info_is_read(lines: list[tuple[str, str, str]]) -> None:
    told = [f"{kind}{name}:{value}" for kind, name, value in lines]
    info = reply_parsers.parse_info("\r\n".join(["redis_version:7", *told]).encode())
    assert isinstance(keys_in(info), int)
    for address in replicas_in(info):
        parse_address(address)
    for name in info:
        assert -(2**63) <= number(info, name) < 2**63


def test_replicas_beyond_the_most_are_left_out() -> None:
    lines = [f"slave{n}:ip=10.0.{n // 250}.{n % 250},port=1" for n in range(3000)]
    info = reply_parsers.parse_info(
        "\r\n".join(["redis_version:7", *lines, "role:master"]).encode()
    )
    assert len(replicas_in(info)) == MAX_REPLICAS
    rows = [{"ip": "10.0.0.1", "port": str(port)} for port in range(200)]
    assert next(iter(by_address(rows))) == "10.0.0.1:1"
    assert len(by_address(rows)) == MAX_REPLICAS


def test_what_cannot_be_connected_to_is_no_replica() -> None:
    lines = ["slave0:ip=10.0.0.1,port=0", "slave1:ip=,port=1", "slave2:ip=a b,port=1"]
    info = reply_parsers.parse_info("\r\n".join(["redis_version:7", *lines]).encode())
    assert replicas_in(info) == {}


def test_what_is_kept_of_earlier_samples_is_what_rates_need() -> None:
    before = {**MASTER_INFO, "total_commands_processed": "10", "keyspace_hits": "7"}
    kept = {name: before[name] for name in COUNTERS}
    assert pool_status(observation(earlier=kept)) == pool_status(observation(earlier=before))
