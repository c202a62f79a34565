"""Reading replies: honest ones as hiredis reads them, hostile ones within bounds."""

from __future__ import annotations

import socket
from typing import Any

import hiredis
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from metaserver.redis_io import resp
from metaserver.redis_io.reply_parsers import NotRedisError
from metaserver.redis_io.resp import SMALL, Limits, ReplyTooLargeError, RespSocket
from tests.support.malformed_replies_to_metaserver import info, words


def read(sent: bytes, *, count: int = 1, limits: Limits = SMALL) -> list[Any]:
    """Return the replies read from bytes after which the server closes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 1024 * 1024)
        theirs.settimeout(10)
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        return list(RespSocket(ours).ask([["PING"]] * count, limits, 10))


def plain(reply: Any) -> Any:
    """Return errors as text, so that they can be compared."""
    if isinstance(reply, list):
        return [plain(item) for item in reply]
    return ("error", str(reply)) if isinstance(reply, Exception) else reply


LINES = st.text("abc -:$*é", max_size=20).map(str.encode)
REPLIES = st.recursive(
    st.one_of(
        st.integers(-(2**63), 2**63 - 1).map(lambda number: b":%d\r\n" % number),
        st.binary(max_size=300).map(lambda data: b"$%d\r\n%b\r\n" % (len(data), data)),
        LINES.map(lambda line: b"+%b\r\n" % line),
        LINES.map(lambda line: b"-ODD %b\r\n" % line),
        st.sampled_from([b"$-1\r\n", b"*-1\r\n"]),
    ),
    lambda inner: st.lists(inner, max_size=5).map(
        lambda items: b"*%d\r\n" % len(items) + b"".join(items)
    ),
    max_leaves=20,
)


@given(replies=st.lists(REPLIES, min_size=1, max_size=4), piece=st.integers(1, 400))
def test_honest_replies_are_read_as_hiredis_reads_them(replies: list[bytes], piece: int) -> None:
    sent = b"".join(replies)
    reader = hiredis.Reader(replyError=redis.ResponseError)
    reader.feed(sent)
    expected = [plain(reader.gets()) for _ in replies]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resp, "_PIECE", piece)
        assert [plain(reply) for reply in read(sent, count=len(replies))] == expected


@given(st.binary(max_size=200) | st.text("*$+-:0123456789\r\nab", max_size=60).map(str.encode))
def test_whatever_is_sent_is_a_reply_or_an_error_of_redis(sent: bytes) -> None:
    try:
        read(sent)
    except redis.RedisError as error:
        assert str(error)


@pytest.mark.parametrize("whole", [info("slave0:ip=127.0.0.1,port=1"), words("a", "b") * 2])
def test_hanging_up_at_each_byte(whole: bytes) -> None:
    count = 2 if whole.startswith(b"*") else 1
    for length in range(len(whole)):
        with pytest.raises(redis.ConnectionError, match="closed"):
            read(whole[:length], count=count)
    assert len(read(whole, count=count)) == count


@pytest.mark.parametrize(
    ("sent", "limits"),
    [
        (b"$101\r\n", Limits(100, 10)),
        (b"*11\r\n", Limits(100, 10)),
        (b"*2\r\n*5\r\n" + b":1\r\n" * 5 + b"*5\r\n", Limits(1000, 10)),
        (b"$60\r\n" + b"x" * 60 + b"\r\n$60\r\n" + b"x" * 60 + b"\r\n", Limits(100, 10)),
        (b"$1000000000000\r\n", SMALL),
        (b"*1000000000\r\n", SMALL),
    ],
)
def test_what_is_too_large_is_refused(sent: bytes, limits: Limits) -> None:
    with pytest.raises(ReplyTooLargeError):
        read(sent, count=2, limits=limits)


@pytest.mark.parametrize(
    "sent",
    [
        b"*1\r\n" * 100_000,
        b"+" + b"x" * 100_000 + b"\r\n",
        b":" + b"9" * 4000 + b"\r\n",
        b":9223372036854775808\r\n",
        *(b":%b\r\n" % odd for odd in (b"", b" 1", b"1_0", b"+1", b"1.0", b"nan", "٣".encode())),
        *(b"%%1\r\n+a\r\n+b\r\n", b",1.0\r\n", b"_\r\n", b"#t\r\n", b"HTTP/1.1 200 OK\r\n"),
        *(b"$-2\r\n", b"*-2\r\n", b"$2\r\nabcd\r\n", b"\r\n"),
    ],
)
def test_what_is_no_reply_is_said_to_be_none(sent: bytes) -> None:
    with pytest.raises(NotRedisError) as caught:
        read(sent, limits=Limits(1_000_000, 1_000_000))
    assert len(str(caught.value)) < 200


def test_errors_have_the_classes_of_redis_py() -> None:
    sent = b"-NOAUTH a\r\n-LOADING b\r\n-READONLY c\r\n-NOPERM d\r\n-ERR e\r\n-OTHER \x1b[2Jf\r\n"
    replies = read(sent, count=6)
    assert [(type(reply), str(reply)) for reply in replies] == [
        (redis.AuthenticationError, "a"),
        (redis.BusyLoadingError, "b"),
        (redis.ReadOnlyError, "c"),
        (redis.exceptions.NoPermissionError, "d"),
        (redis.ResponseError, "e"),
        (redis.ResponseError, "OTHER \ufffd[2Jf"),
    ]
