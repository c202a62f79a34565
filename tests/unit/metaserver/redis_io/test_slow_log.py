"""A reply to SLOWLOG GET as values."""

from __future__ import annotations

import pytest

from metaserver.redis_io.reply_parsers import NotRedisError
from metaserver.redis_io.slow_log import MOST, parse_slow_log

ENTRY = [7, 1_700_000_000, 12_345, [b"LRANGE", b"q\x1b[31m", b"0", b"-1"], b"10.0.0.9:1", b"shop"]


def test_an_entry() -> None:
    (slow,) = parse_slow_log([ENTRY])
    assert slow.to_dict() == {
        "id": 7,
        "at": "2023-11-14T22:13:20.000Z",
        "seconds": 0.012345,
        "command": ["LRANGE", "q\ufffd[31m", "0", "-1"],
        "client": "10.0.0.9:1",
        "client_name": "shop",
    }


def test_what_is_too_much_is_cut() -> None:
    found = parse_slow_log([[*ENTRY[:3], [b"x" * 10_000] * 100, *ENTRY[4:]]] * (MOST + 5))
    assert len(found) == MOST
    assert (len(found[0].command), len(found[0].command[0])) == (32, 200)


@pytest.mark.parametrize(
    "reply",
    [
        *(None, b"", [1], [[]], [ENTRY[:5]]),
        *([[b"7", *ENTRY[1:]]], [[-1, *ENTRY[1:]]], [[7, 10**15, *ENTRY[2:]]]),
        *([[*ENTRY[:3], [1], *ENTRY[4:]]], [[*ENTRY[:4], b"x" * 300, b""]]),
    ],
)
def test_what_is_no_slow_log(reply: object) -> None:
    with pytest.raises(NotRedisError):
        parse_slow_log(reply)
