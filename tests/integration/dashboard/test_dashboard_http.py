"""The dashboard as a process, without a metaserver: its replies to malicious requests."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachemesh.local.ports import Ports
from dashboard.security import HEADERS
from tests.support.metaserver_process import environment
from tests.support.raw_http import RawReply, answers, exchange, request
from tests.support.waiting import until

EVIL = b"Host: evil.example"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    listen = f"127.0.0.1:{Ports().take()}"
    log = tmp_path_factory.mktemp("dashboard") / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "dashboard"),
                *("--listen", listen, "--metaserver", "127.0.0.1:1"),
            ],
            stderr=stderr,
            env=environment(),
        )
    try:
        until(lambda: answers(listen))
        yield listen
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(120) == 0
        finally:
            process.kill()
    assert "Traceback" not in Path(log).read_text()


def cookie(address: str) -> str:
    return f"Cookie: cachemesh_dashboard_{address.rpartition(':')[2]}_login=x"


def page(address: str, data: bytes) -> RawReply:
    """Return the one reply, and check that it is a page with all security headers."""
    (reply,) = exchange(address, data).replies
    assert reply.headers["content-type"].startswith("text/html")
    for name, value in HEADERS.items():
        assert reply.headers[name.lower()] == value
    return reply


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /login HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", 431),
        (b"<script>alert(1)</script>\r\n\r\n", 400),
        (b"POST /login HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ],
)
def test_no_request_at_all(address: str, data: bytes, status: int) -> None:
    reply = page(address, data)
    assert reply.status == status
    assert b"<script>" not in reply.body


def test_chunks_that_are_none(address: str) -> None:
    head = request(
        *("POST", "/login", None, b"", cookie(address)),
        *("Content-Type: application/x-www-form-urlencoded", "Transfer-Encoding: chunked"),
        length=False,
    )
    follower = request("GET", "/livez", None)
    assert page(address, head + b"zz\r\nx\r\n0\r\n\r\n" + follower).status == 400


def test_a_body_that_never_comes(address: str) -> None:
    head = request(
        *("POST", "/login", None, b"", cookie(address)),
        *("Content-Type: application/x-www-form-urlencoded", "Content-Length: 9"),
        length=False,
    )
    assert page(address, head + b"csrf").status == 408


@pytest.mark.parametrize("path", ["//login", "//evil.example/login", "/pools//x", "//static/x"])
def test_no_redirect_to_the_host_header(address: str, path: str) -> None:
    data = request("GET", path, None, b"", "Connection: close")
    reply = page(address, data.replace(b"Host: metaserver", EVIL))
    assert reply.status == (200 if path == "//login" else 404)  # as for /login
    assert "location" not in reply.headers


def test_redirects_stay_here(address: str) -> None:
    for path in ("/", "/pools/cache"):
        data = request("GET", path, None, b"", "Connection: close")
        (reply,) = exchange(address, data.replace(b"Host: metaserver", EVIL)).replies
        assert reply.status == 303
        assert reply.headers["location"] == "/login"
