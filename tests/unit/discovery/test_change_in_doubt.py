"""A change that may have been made is sent again until somebody tells what became of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cachemesh.core.errors import MetaserverError
from cachemesh.discovery.metaserver import MetaserverClient
from tests.support.waiting import AT_MOST

Answer = tuple[int, dict[str, Any]] | None
"""Status and body; None: the connection is closed without an answer."""

MADE: Answer = (200, {"version_after": 2})


def refusal(code: str) -> Answer:
    return 503, {"code": code, "detail": "ZooKeeper does not answer", "status": 503}


class Handler(BaseHTTPRequestHandler):
    answers: list[Answer]
    keys: list[str]

    def do_GET(self) -> None:
        self.do_PATCH()

    def do_PATCH(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.keys.append(self.headers["Idempotency-Key"])
        answer = self.answers.pop(0)
        if answer is None:
            self.close_connection = True
            return
        data = json.dumps(answer[1]).encode()
        self.send_response(answer[0])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Write no log."""


@contextmanager
def answering(*answers: Answer, addresses: int = 1) -> Iterator[tuple[MetaserverClient, list[str]]]:
    """Run a metaserver that answers so, one after the other; the list gets the keys.

    The client has so many addresses, all of them its.
    """
    keys: list[str] = []
    handler = type("Answering", (Handler,), {"answers": list(answers), "keys": keys})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        yield MetaserverClient([address] * addresses, timeout=AT_MOST), keys
        server.shutdown()


@pytest.mark.parametrize("code", ["storage-failed", "storage-full", "too-many-requests"])
def test_a_later_refusal_says_nothing_of_the_first_sending(code: str) -> None:
    with answering(None, refusal(code), MADE) as (client, keys):
        assert client.request("PATCH", "/v1/x", {}) == {"version_after": 2}
        assert len(keys) == 3
        assert len(set(keys)) == 1


def test_a_store_that_has_not_answered_is_asked_again() -> None:
    with answering(refusal("storage-unsure"), MADE) as (client, keys):
        assert client.request("PATCH", "/v1/x", {}) == {"version_after": 2}
        assert len(set(keys)) == 1


def test_a_refusal_of_what_was_sent_once_is_told() -> None:
    with answering(refusal("storage-failed")) as (client, keys):
        with pytest.raises(MetaserverError, match="ZooKeeper does not answer"):
            client.request("PATCH", "/v1/x", {})
        assert len(keys) == 1


@pytest.mark.parametrize("code", ["storage-failed", "not-leader"])
def test_another_metaserver_may_reach_the_store_or_lead(code: str) -> None:
    with answering(refusal(code), MADE, addresses=2) as (client, keys):
        assert client.request("PATCH", "/v1/pools/cache/settings", {}) == {"version_after": 2}
        assert len(keys) == 2
        assert len(set(keys)) == 1


def test_a_store_that_no_metaserver_reaches_is_told() -> None:
    answers = [refusal("storage-failed")] * 2
    with answering(*answers, addresses=2) as (client, keys):
        with pytest.raises(MetaserverError, match="ZooKeeper does not answer") as raised:
            client.request("PATCH", "/v1/pools/cache/settings", {})
        assert raised.value.code == "storage-failed"
        assert len(keys) == 2


def test_a_stream_too_is_asked_of_another() -> None:
    with answering(refusal("storage-failed"), refusal("storage-failed"), addresses=2) as (
        client,
        keys,
    ):
        with pytest.raises(MetaserverError, match="ZooKeeper does not answer"):
            next(client.stream("/v1/pools/cache/stream"))
        assert len(keys) == 2
