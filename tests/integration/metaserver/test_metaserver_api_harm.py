"""Harmful requests: none costs memory or time, and each gets a problem document."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachemesh.local import LocalStack
from tests.support.metaserver_process import Api
from tests.support.raw_http import exchange, request
from tests.support.waiting import in_time, until

WATCH = "/v1/pools/cache/watch"


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, replicas=0, dashboard=False) as stack:
        yield stack


@pytest.fixture(scope="module")
def admin(stack: LocalStack) -> Api:
    return Api(stack.info["metaservers"][0], stack.token)


@pytest.fixture(scope="module")
def reader(admin: Api) -> Api:
    return admin.as_reader()


@pytest.fixture(scope="module")
def worker(admin: Api) -> int:
    """Return the id of the worker process."""
    listening = _listeners(int(admin.address.rpartition(":")[2]))
    (worker,) = [pid for pid in listening if _parent(pid) in listening]
    return worker


def resident(pid: int) -> int:
    """Return the bytes that a process has in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def _listeners(port: int) -> set[int]:
    """Return the processes that hold the socket listening on this port."""
    inodes = {
        f"socket:[{fields[9]}]"
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        if fields[3] == "0A" and int(fields[1].partition(":")[2], 16) == port
    }
    found = set()
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(fd.readlink()) in inodes:
                found.add(int(fd.parts[2]))
        except OSError:
            continue  # the process has ended, or is of another user
    return found


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class TestMemory:
    def test_stats_are_bounded(self, admin: Api, reader: Api) -> None:
        nested: Any = {}
        for _ in range(10):
            nested = {"x" * 30: nested, "y": [{}] * 100}
        bad: list[Any] = [
            nested,
            {"a": {}},
            {"a": [1]},
            {f"n{number}": 1 for number in range(17)},
            {"x" * 41: 1},
            {"": 1},
            {"a": "x" * 65},
        ]
        for stats in bad:
            body = {"client": "c", "version": 0, "wait": 0, "stats": stats}
            reply = reader("POST", WATCH, body)
            assert reply.problem == "bad-request", stats
            assert reply.json["field"].startswith("stats")
        large = {"client": "c", "version": 0, "stats": {"much": "x" * 70_000}}
        assert reader("POST", WATCH, large).problem == "too-large"
        names = {
            client["client"] for client in admin("GET", "/v1/pools/cache/clients").json["clients"]
        }
        assert "c" not in names

    def test_many_calls_leave_nothing_behind(self, reader: Api, worker: int) -> None:
        """Bodies with ever new names, of the smallest refused and the largest allowed size."""
        refused: dict[str, Any] = {"stats": {"nested": [[{}] * 150] * 100}}
        allowed = {"stats": {f"{n:040}": "é" * 64 for n in range(16)}}

        def call(number: int, stats: dict[str, Any]) -> int:
            body = {"client": f"{number:0200}", "version": 0, "wait": 0, **stats}
            return reader("POST", WATCH, body).status

        for number in range(50):  # allocates what is allocated once
            assert call(number, allowed) == 200
            assert call(number, refused) in (400, 413)
        before = resident(worker)
        for number in range(50, 150):  # 110 MB, if each left its body behind
            assert call(number, refused) in (400, 413)
            assert call(number, allowed) == 200
        assert resident(worker) - before < 8 * 1024 * 1024

    def test_a_farewell_of_many_strangers(self, reader: Api, worker: int) -> None:
        before = resident(worker)
        for number in range(400):
            assert reader("DELETE", f"/v1/pools/cache/clients/{number:01000}").status == 204
        assert resident(worker) - before < 8 * 1024 * 1024


class TestClientsOfATokenAreItsOwn:
    def test_nobody_says_good_bye_for_another(self, admin: Api, reader: Api) -> None:
        body = {"client": "mine", "version": 0, "wait": 0}
        assert admin("POST", WATCH, body).status == 200
        gone = reader("DELETE", "/v1/pools/cache/clients/mine")
        assert (gone.status, gone.headers.get("content-type")) == (204, None)
        assert reader("POST", WATCH, {**body, "version": 99, "wait": 0}).status == 200
        clients = admin("GET", "/v1/pools/cache/clients").json["clients"]
        assert 0 in [each["version"] for each in clients if each["client"] == "mine"]

    @pytest.mark.parametrize("pool", ["nothing", "a%0d%0ab", "%ff", "x" * 300])
    def test_a_farewell_to_no_pool(self, reader: Api, pool: str) -> None:
        assert reader("DELETE", f"/v1/pools/{pool}/clients/x").problem == "pool-not-found"


class TestNumbersAndText:
    @pytest.mark.parametrize(
        "body",
        [
            b'{"client": "c", "version": 0, "stats": {"x": Infinity}}',
            b'{"client": "c", "version": 0, "stats": {"x": -Infinity}}',
            b'{"client": "c", "version": 0, "stats": {"x": NaN}}',
            b'{"client": "c", "version": 1.5}',
            b'{"client": "c", "version": %s}' % (b"9" * 5_000),
            b'{"client": "c", "version": -%s}' % (b"9" * 5_000),
            b'{"client": "c", "version": 0.%s}' % (b"1" * 5_000),
            b'{"client": "c", "version": 0, "client": "d"}',
            b'{"client": "c", "version": 0, "stats": {"a": 1, "a": 2}}',
            b'{"client": "\xff", "version": 0}',
            b'\xef\xbb\xbf{"client": "c", "version": 0}',
            '{"client": "c", "version": 0}'.encode("utf-16"),
            b"[" * 16_000,
            b'{"a":' * 3_000,
        ],
    )
    def test_what_is_not_json(self, admin: Api, reader: Api, body: bytes) -> None:
        self.refused(admin, reader, body, "bad-request")

    @pytest.mark.parametrize(
        "body",
        [
            b'{"client": "c", "version": 0, "stats": {"x": 1e999}}',
            b'{"client": "c", "version": 1e400}',
            b'{"client": "c", "version": %s}' % (b"9" * 19),
            b'{"client": "c", "version": %s}' % (b"9" * 4_000),
            b'{"client": "\\ud800", "version": 0}',
            b'{"client": "c", "version": 0, "stats": {"\\udfff": 1}}',
            b'{"client": "c", "version": 0, "stats": {"x": %s1%s}}' % (b"[" * 900, b"]" * 900),
            b'{"client": "c", "version": 0, "stats": %s1%s}' % (b'{"a":' * 900, b"}" * 900),
        ],
    )
    def test_json_with_a_value_that_is_refused(self, admin: Api, reader: Api, body: bytes) -> None:
        self.refused(admin, reader, body, "invalid-content")

    def refused(self, admin: Api, reader: Api, body: bytes, code: str) -> None:
        reply = reader("POST", WATCH, raw=body)
        assert reply.problem == code
        assert len(reply.text) < 1_000
        text = admin("GET", "/v1/pools/cache/clients").text
        json.loads(text, parse_constant=lambda name: pytest.fail(name))


class TestFraming:
    """Errors that gunicorn finds are problem documents too, and end the connection."""

    def refused(self, admin: Api, data: bytes, *statuses: int) -> None:
        talk = exchange(admin.address, data)
        assert [reply.status for reply in talk.replies] == list(statuses), talk
        for reply in talk.replies:
            assert reply.problem["next"] != ""
            assert b"<" not in reply.body
            assert reply.headers["connection"] == "close"
        assert talk.closed_after is not None

    @pytest.mark.parametrize(
        "chunks",
        [b"zz\r\n{}\r\n0\r\n\r\n", b"2\r\n{}XX0\r\n\r\n", b"-1\r\n", b"\r\n", b"2;\x00\r\n{}\r\n"],
    )
    def test_chunks_that_are_none(self, admin: Api, chunks: bytes) -> None:
        head = request("POST", WATCH, admin.token, b"", "Transfer-Encoding: chunked", length=False)
        follower = request("GET", "/livez", None)
        self.refused(admin, head + chunks + follower, 400)

    def test_chunks_that_are_good(self, admin: Api) -> None:
        head = request("POST", WATCH, admin.token, b"", "Transfer-Encoding: chunked", length=False)
        body = b'{"client": "chunked", "version": 0, "wait": 0}'
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
        talk = exchange(admin.address, head + chunks, replies=1)
        assert talk.replies[0].status == 200

    @pytest.mark.parametrize(
        "headers",
        [
            ("Transfer-Encoding: chunked", "Content-Length: 5"),
            ("Content-Length: 5", "Transfer-Encoding: chunked"),
            ("Content-Length: 5", "Content-Length: 6"),
            ("Content-Length: 5, 5",),
            ("Content-Length: +5",),
            ("Content-Length: -5",),
            ("Content-Length: 0x5",),
            ("Content-Length: " + "9" * 5_000,),
            ("Transfer-Encoding: chunked, chunked",),
            ("Transfer-Encoding: identity",),
            ("Transfer-Encoding : chunked",),
            ("X: 1\r\n folded",),
            ("X\x00: 1",),
        ],
    )
    def test_lengths_that_contradict_each_other(self, admin: Api, headers: tuple[str, ...]) -> None:
        head = request("POST", WATCH, admin.token, b"", *headers, length=False)
        self.refused(admin, head + b"0\r\n\r\n" + request("GET", "/livez", None), 400)

    def test_an_unknown_coding(self, admin: Api) -> None:
        head = request("POST", WATCH, admin.token, b"", "Transfer-Encoding: x", length=False)
        self.refused(admin, head, 501)

    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", 414),
            (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", 431),
            (b"GET /livez HTTP/1.1\r\n" + b"X: 1\r\n" * 5_000 + b"\r\n", 431),
            (b"nonsense\r\n\r\n", 400),
            (b"GET /livez HTTP/9.9\r\n\r\n", 400),
            (b"GET /livez\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
            (b"g\x00t /livez HTTP/1.1\r\n\r\n", 400),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ],
    )
    def test_no_request_at_all(self, admin: Api, data: bytes, status: int) -> None:
        self.refused(admin, data, status)

    @pytest.mark.parametrize(
        "path",
        ["//v1//pools", "//evil.example/v1/pools", "/v1//pools", "/v1/pools//cache", "/v1/pools/"],
    )
    def test_no_redirect(self, admin: Api, path: str) -> None:
        data = request("GET", path, admin.token, b"", "Connection: close").replace(
            b"Host: metaserver", b"Host: evil.example"
        )
        (reply,) = exchange(admin.address, data).replies
        assert reply.status == 404
        assert reply.problem["code"] == "not-found"
        assert "location" not in reply.headers

    @pytest.mark.parametrize("host", ["", "a b", "a/b", "evil.example:99999999", "[::1", "\xff"])
    def test_odd_hosts(self, admin: Api, host: str) -> None:
        data = request("GET", "/v1/nothing", admin.token, b"", "Connection: close")
        data = data.replace(b"Host: metaserver", b"Host: " + host.encode("latin-1"))
        (reply,) = exchange(admin.address, data).replies
        assert reply.problem["code"] in ("not-found", "bad-request", "unauthorized")

    @pytest.mark.parametrize("header", ["SCRIPT_NAME: /x", "PATH_INFO: /livez", "Expect: magic"])
    def test_headers_that_would_move_the_path(self, admin: Api, header: str) -> None:
        data = request("GET", "/v1/nothing", admin.token, b"", header, "Connection: close")
        (reply,) = exchange(admin.address, data).replies
        assert reply.problem["code"] in ("not-found", "expectation-failed", "bad-request")


class TestTime:
    def test_a_body_that_drips(self, admin: Api) -> None:
        """A body of one byte a second would take 100 s; the server gives up after 10 s."""
        head = request("POST", WATCH, admin.token, b"", "Content-Length: 100", length=False)
        dripping(admin, head, b"{", status=408, code="request-timeout")

    def test_a_body_that_nobody_reads(self, admin: Api) -> None:
        """A request without a token is refused at once; its slow body is not read for long."""
        head = request("POST", WATCH, "wrong", b"", "Content-Length: 100", length=False)
        dripping(admin, head, b"{", status=401, code="unauthorized")

    def test_headers_that_drip(self, admin: Api) -> None:
        head = b"GET /livez HTTP/1.1\r\nHost: x\r\nX: "
        dripping(admin, head, b"x", status=None, code="")

    def test_a_reader_that_takes_nothing(self, admin: Api) -> None:
        """A slow request costs one connection; all other requests are served."""
        host, _, port = admin.address.rpartition(":")
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.connect((host, int(port)))
            connection.sendall(request("GET", "/openapi.json", None) * 200)
            assert admin("GET", "/livez").status == 200


def dripping(admin: Api, head: bytes, drop: bytes, *, status: int | None, code: str) -> None:
    """Send a byte each 0.3 s until the server closes the connection."""
    host, _, port = admin.address.rpartition(":")
    ended = threading.Event()
    with socket.create_connection((host, int(port)), timeout=60) as connection:

        def drip() -> None:
            try:
                connection.sendall(head)
                while not ended.wait(0.3):
                    connection.sendall(drop)
            except OSError:
                return

        thread = threading.Thread(target=drip)
        thread.start()
        received = b""
        began = time.monotonic()
        try:
            while part := connection.recv(65536):
                received += part
        except ConnectionResetError:
            pass
        finally:
            ended.set()
            thread.join()
        in_time(time.monotonic() - began, 6.0)
    if status is None:
        assert received == b""
        return
    assert received.startswith(b"HTTP/1.1 %d " % status), received
    assert received.count(b"HTTP/1.1 ") == 1, received
    assert json.loads(received.partition(b"\r\n\r\n")[2])["code"] == code


class TestTooMuchAtOnce:
    def test_calls_of_one_token(self, admin: Api, reader: Api) -> None:
        """Missing bodies hold 100 calls; the next is refused, those of other tokens are not."""
        host, _, port = admin.address.rpartition(":")
        head = request(
            "PATCH",
            "/v1/pools/cache/settings",
            admin.token,
            b"",
            "Content-Length: 100",
            length=False,
        )
        held = []
        try:
            for _ in range(100):
                connection = socket.create_connection((host, int(port)), timeout=30)
                held.append(connection)
                connection.sendall(head)
            refused = until(lambda: [r for r in [admin("GET", "/v1/pools")] if r.status == 429])[0]
            assert refused.problem == "too-many-requests"
            assert int(refused.headers["retry-after"]) > 0
            assert reader("GET", "/v1/pools").status == 200
            # Calls that every client makes have a higher limit.
            assert admin("GET", "/v1/pools/cache").status == 200
        finally:
            for connection in held:
                connection.close()
        until(lambda: admin("GET", "/v1/pools").status == 200)
