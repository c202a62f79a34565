"""Malformed replies to clients: what no metaserver, Sentinel or instance sends, as plain data.

Each is the bytes to send, or a function that sends until the peer hangs up.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

Reply = bytes | Callable[[socket.socket], None]

_FLOOD = 1024 * 1024 * 1024
_LUMP = 1024 * 1024


def endless(lump: bytes, start: bytes = b"") -> Callable[[socket.socket], None]:
    """Return a function that sends ``start`` and then a gigabyte of ``lump`` repeated."""

    def speak(sock: socket.socket) -> None:
        sock.sendall(start)
        whole = lump * (_LUMP // len(lump) or 1)
        for _ in range(_FLOOD // len(whole)):
            sock.sendall(whole)

    return speak


def http(body: bytes | str, status: str = "200 OK", *headers: str) -> bytes:
    """Return an HTTP reply; a Content-Length is added unless a header replaces it."""
    raw = body if isinstance(body, bytes) else body.encode()
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-")) for line in headers):
        lines.append(f"Content-Length: {len(raw)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + raw


def _chunked(chunks: bytes) -> bytes:
    return http(chunks, "200 OK", "Transfer-Encoding: chunked")


def _watched(document: object) -> bytes:
    return http(json.dumps({"changed": True, "document": document, "lease": 30}))


def metaserver(good: Mapping[str, Any]) -> dict[str, Reply]:
    """Return malformed replies to a watch call.

    Args:
        good: a pool document that a client would follow.
    """
    placement: dict[str, Any] = dict(good["placement"])

    def with_(**changes: object) -> bytes:
        return _watched({**good, **changes})

    def placed(**changes: object) -> bytes:
        return with_(placement={**placement, **changes})

    whole = json.dumps({"document": dict(good)})
    deep = "[" * 900 + "]" * 900
    header = "HTTP/1.1 200 OK\r\n"
    return {
        "nothing, closed": b"",
        "not HTTP": b"+PONG\r\n",
        "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
        "half a status line": b"HTTP/1.1 2",
        "an odd status": b"HTTP/1.1 abc OK\r\n\r\n",
        "a status of many digits": b"HTTP/1.1 " + b"9" * 6000 + b" OK\r\n\r\n",
        "an endless status line": endless(b"H"),
        "endless continues": endless(b"HTTP/1.1 100 Continue\r\n\r\n"),
        "endless headers": endless(b"A: b\r\n", header.encode()),
        "an endless header": endless(b"a", header.encode() + b"A: "),
        "200 headers": (header + "A: b\r\n" * 200 + "\r\n").encode(),
        "headers that are none": (header + ":\r\n\x00\r\n \r\n\r\n").encode(),
        "a length below zero": http("x", "200 OK", "Content-Length: -5"),
        "a length of many digits": http(whole, "200 OK", "Content-Length: " + "9" * 5000),
        "less than its length": http(whole, "200 OK", "Content-Length: 999999"),
        "an endless body": endless(b" ", header.encode() + b"\r\n"),
        "a gigabyte of lists": endless(b"[],", header.encode() + b"\r\n["),
        "a chunk of no length": _chunked(b"zz\r\n{}\r\n0\r\n\r\n"),
        "a chunk of length -5": _chunked(b"-5\r\n{}\r\n0\r\n\r\n"),
        "a chunk of length -1": endless(b"x", _chunked(b"-1\r\n")),
        "a chunk of many digits": _chunked(b"f" * 5000 + b"\r\n{}"),
        "a chunk far below zero": _chunked(b"-" + b"f" * 5000 + b"\r\n{}"),
        "a chunk of 4 GB": _chunked(b"ffffffff\r\n{}"),
        "half a chunk": _chunked(b"ff\r\n{}"),
        "endless trailers": endless(b"A: b\r\n", _chunked(b"2\r\n{}\r\n0\r\n")),
        "200 and nothing": http(""),
        "204": b"HTTP/1.1 204 No Content\r\n\r\n",
        "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
        "a redirect with a document": http(whole, "302 Found", "Location: http://127.0.0.1:1/"),
        "a redirect to itself": http("", "307 Temporary Redirect", "Location: /"),
        "500 in HTML": http("<html>", "500 Internal Server Error"),
        "an error of odd types": http('{"code": [1], "detail": {"a": []}, "next": 5}', "400 Bad"),
        "an error of 3 MB": http(json.dumps({"detail": "x" * 3_000_000}), "503 Busy"),
        "not JSON": http("<html></html>"),
        "half a JSON": http(whole[: len(whole) // 2]),
        "bad UTF-8": http(b'{"document": "\xff\xfe"}'),
        "UTF-16": http(whole.encode("utf-16")),
        "gzip": http(b"\x1f\x8b\x08\x00", "200 OK", "Content-Encoding: gzip"),
        "nested 100,000 deep": http("[" * 100_000 + "]" * 100_000),
        "a document nested 100,000 deep": http('{"document": ' + '{"a": ' * 100_000),
        "nested 900 deep": http(deep),
        "a version nested 900 deep": http(json.dumps({"document": dict(good)}).replace(
            f'"version": {good["version"]}', f'"version": {deep}'
        )),
        "null": http("null"),
        "a number": http("5"),
        "a list": http("[]"),
        "no document": http("{}"),
        "a document that is a list": _watched([]),
        "a document of numbers": _watched(5),
        "an empty document": _watched({}),
        "another format": with_(format=99),
        "another pool": with_(pool="other"),
        "a pool of odd type": with_(pool=["cache"]),
        "an older version": with_(version=1),
        "version true": with_(version=True),
        "version NaN": with_(version=float("nan")),
        "version 1e999": http(_watched(dict(good)).split(b"\r\n\r\n", 1)[1].replace(
            b'"version": %d' % good["version"], b'"version": 1e999'
        )),
        "a version of 4,000 digits": with_(version=10**4000),
        "a version of 5,000 digits": http('{"document": {"version": ' + "9" * 5000 + "}}"),
        "no placement": with_(placement=None),
        "a strategy of odd type": placed(strategy=[]),
        "shards of odd type": placed(shards={"a": 1}),
        "shards that are numbers": placed(shards=[1, 2]),
        "no shards": placed(shards=[]),
        "20,000 shards": placed(shards=[{"name": f"s{i}", "slots": []} for i in range(20_000)]),
        "slots of odd type": placed(shards=[{"name": "cache-0", "slots": [["a", None]]}]),
        "slots without an end": placed(shards=[{"name": "cache-0", "slots": [[0]]}]),
        "slots beyond the last": placed(shards=[{"name": "cache-0", "slots": [[0, 10**15]]}]),
        "a weight of odd type": placed(shards=[{"name": "cache-0", "weight": "many"}]),
        "sentinels of odd type": with_(sentinels=[5]),
        "sentinels that are text": with_(sentinels="127.0.0.1:1"),
        "a sentinel with an odd name": with_(sentinels=["a..b:1", "x" * 200 + ":1"]),
        "a sentinel with half a character": with_(sentinels=["\ud800:1"]),
        "settings of odd type": with_(settings=[1]),
        "a timeout that is text": with_(settings={"command_timeout": "5"}),
        "a timeout of 400 digits": with_(settings={"command_timeout": 10**400}),
        "a timeout of NaN": with_(settings={"command_timeout": float("nan")}),
        "a policy of odd type": with_(settings={"on_error": {"a": 1}}),
        "a migration of odd type": with_(migration=5),
    }  # fmt: skip


def _bulk(*texts: bytes) -> bytes:
    return b"*%d\r\n" % len(texts) + b"".join(b"$%d\r\n%s\r\n" % (len(t), t) for t in texts)


RESP: dict[str, Reply] = {
    "not RESP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zeros": b"\0" * 100,
    "half a reply, closed": b"$5\r\nab",
    "a length below zero": b"$-7\r\n",
    "a length of many digits": b"$" + b"9" * 5000 + b"\r\n",
    "600 MB announced": b"$629145600\r\nabc",
    "2^32 - 1 items announced": b"*4294967295\r\n:1\r\n",
    "a hundred million items announced": b"*100000000\r\n:1\r\n",
    "a million lists in each other": b"*1\r\n" * 1_000_000 + b":1\r\n",
    "lists in each other, eight deep": b"*1\r\n" * 8 + b":1\r\n",
    "a map whose key is a list": b"%1\r\n*0\r\n:1\r\n",
    "a set of lists": b"~1\r\n*0\r\n",
    "a map": b"%1\r\n+a\r\n+b\r\n",
    "a number of 5,000 digits": b"(" + b"9" * 5000 + b"\r\n",
    "an integer of 5,000 digits": b":" + b"9" * 5000 + b"\r\n",
    "not a number": b",nan\r\n",
    "an odd boolean": b"#x\r\n",
    "a push": b">2\r\n+invalidate\r\n*0\r\n",
    "an empty push": b">0\r\n",
    "an endless line": endless(b"x", b"+"),
    "an endless text": endless(b"x", b"$536870912\r\n"),
    "endless lists": endless(b"*0\r\n", b"*100000000\r\n"),
    "endless replies": endless(b":1\r\n"),
    "endless pushes": endless(b">1\r\n+a\r\n"),
}
"""What is wrong whoever says it."""

_ROW = (b"name", b"cache-0", b"ip", b"127.0.0.1", b"port", b"1", b"flags", b"slave")
SENTINEL: dict[str, Reply] = {
    **RESP,
    "an integer": b":1\r\n",
    "nil": b"$-1\r\n",
    "OK": b"+OK\r\n",
    "no items": b"*0\r\n",
    "one item": b"*1\r\n:1\r\n",
    "items that are numbers": b"*2\r\n:1\r\n:2\r\n",
    "an address without a host": _bulk(b"", b"1"),
    "a host that is none": _bulk(b"a b\n", b"1"),
    "a port that is none": _bulk(b"127.0.0.1", b"one"),
    "a port of 5,000 digits": _bulk(b"127.0.0.1", b"9" * 5000),
    "bad UTF-8": _bulk(b"\xff\xfe", b"\xff"),
    "rows that are numbers": b"*1\r\n:1\r\n",
    "a row of odd length": b"*1\r\n" + _bulk(*_ROW, b"more"),
    "a row of numbers": b"*1\r\n*2\r\n:1\r\n:2\r\n",
    "a row whose name is a list": b"*1\r\n*2\r\n$4\r\nname\r\n*0\r\n",
    "a row whose field is a list": b"*1\r\n*2\r\n*0\r\n$1\r\na\r\n",
    "a message without a channel": _bulk(b"message"),
    "a message of numbers": b"*3\r\n:1\r\n:2\r\n:3\r\n",
    "a switch that says nothing": _bulk(b"message", b"+switch-master", b""),
    "a switch to nowhere": _bulk(b"message", b"+switch-master", b"cache-0 a 1 b 99999999"),
    "a switch that is a list": b"*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n*0\r\n",
    "a selection that is none": _bulk(b"message", b"+selected-slave", b"slave a b c @ d e f"),
    "an error": b"-ERR no\r\n",
    "an empty error": b"-\r\n",
    "an error of 3 MB": b"-ERR " + b"x" * 3_000_000 + b"\r\n",
}


def _info(offset: bytes) -> bytes:
    text = b"role:master\r\nmaster_replid:a\r\nmaster_repl_offset:%s\r\n" % offset
    return b"$%d\r\n%s\r\n" % (len(text), text)


INSTANCE: dict[str, Reply] = {
    **RESP,
    "an odd role": b"*1\r\n:7\r\n",
    "a role that is no text": b"*1\r\n$2\r\n\xff\xfe\r\n",
    "an INFO of odd lines": b"$24\r\nrole:master\r\nmaster_repl\r\n",
    "an offset that is none": _info(b"many"),
    "an offset of 5,000 digits": _info(b"9" * 5000),
}
