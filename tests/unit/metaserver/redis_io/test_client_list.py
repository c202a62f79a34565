"""Whose the connections are that CLIENT LIST names."""

from __future__ import annotations

import pytest
import redis

from metaserver.redis_io.client_list import Connected, parse_client_list
from metaserver.redis_io.reply_parsers import NotRedisError


def line(number: int, name: str, flags: str = "N", library: str = "") -> str:
    return (
        f"id={number} addr=10.0.0.9:1 laddr=10.0.0.1:6379 fd=8 name={name} age=0 flags={flags} "
        f"db=0 cmd=get user=default lib-name={library} lib-ver=1"
    )


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (line(3, "cachemesh:0123456789ab:shop"), Connected(3, client="0123456789ab")),
        (line(4, "cachemesh-term:17"), Connected(4, epoch=17)),
        (line(5, "cachemesh-term:none"), Connected(5)),
        (line(6, "", library="redis-py"), Connected(6, software="redis-py")),
        (line(7, "reports", library="redis-py"), Connected(7, software="reports")),
        (line(8, "", flags="S"), Connected(8)),
        (line(9, "sentinel-0123-cmd"), Connected(9)),
        (line(10, ""), Connected(10)),
        ("id=11", Connected(11)),
    ],
)
def test_whose_a_connection_is(listed: str, expected: Connected) -> None:
    assert list(parse_client_list(f"{listed}\n".encode())) == [expected]


@pytest.mark.parametrize("listed", ["", "no=1 name=cachemesh:a", "id=x name=y", "id=" + "9" * 21])
def test_lines_without_a_number_are_left_out(listed: str) -> None:
    assert list(parse_client_list(f"{listed}\n{line(1, '')}".encode())) == [Connected(1)]


def test_what_is_no_list_is_refused() -> None:
    with pytest.raises(NotRedisError):
        list(parse_client_list([b"id=1"]))
    with pytest.raises(redis.ResponseError, match="no"):
        list(parse_client_list(redis.ResponseError("no")))
