"""Held watch calls and event streams, also across two processes on one database."""

from __future__ import annotations

import http.client
import json
import resource
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from tests.support.metaserver_process import Api
from tests.support.waiting import AT_MOST, in_time, until

SETTINGS = "/v1/pools/cache/settings"


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=0, metaservers=2, dashboard=False) as stack:
        yield stack


@pytest.fixture(scope="module")
def apis(stack: LocalStack) -> list[Api]:
    return [Api(address, stack.token) for address in stack.info["metaservers"]]


@pytest.fixture
def admin(apis: list[Api]) -> Api:
    return apis[0]


def version(api: Api) -> int:
    found: int = api("GET", "/v1/pools/cache").json["version"]
    return found


def watch(client: str, version: int, wait: float = 20.0) -> dict[str, Any]:
    return {"client": client, "version": version, "wait": wait, "stats": {"errors": 0}}


def set_timeout(api: Api, seconds: float) -> int:
    after: int = api("PATCH", SETTINGS, {"settings": {"command_timeout": seconds}}).json[
        "version_after"
    ]
    return after


def held(api: Api) -> int:
    for line in api("GET", "/metrics").text.splitlines():
        if line.startswith("cachemesh_metaserver_watches "):
            return int(line.split()[1])
    raise AssertionError("no such metric")


def test_one_who_lags_is_told_at_once(admin: Api) -> None:
    reply = admin("POST", "/v1/pools/cache/watch", watch("app", 0)).json
    assert reply["changed"]
    assert reply["document"] == admin("GET", "/v1/pools/cache").json
    assert reply["lease"] == 30.0


def test_nothing_new(admin: Api) -> None:
    began = time.monotonic()
    reply = admin("POST", "/v1/pools/cache/watch", watch("app", version(admin), 0.3)).json
    assert reply == {"changed": False, "document": None, "lease": 30.0}
    took = time.monotonic() - began
    assert took >= 0.3
    in_time(took, 0.3)


@pytest.mark.parametrize("changer", [0, 1], ids=["same process", "other process"])
def test_held_until_it_changes(apis: list[Api], changer: int) -> None:
    now = version(apis[0])
    results = [
        apis[0].in_background("POST", "/v1/pools/cache/watch", watch(f"app-{n}", now))
        for n in range(20)
    ]
    until(lambda: held(apis[0]) == 20)
    began = time.monotonic()
    after = set_timeout(apis[changer], 1 + changer)
    replies = [result() for result in results]
    in_time(time.monotonic() - began, 1.0)  # they would be held for 20 s
    assert all(reply.json["changed"] for reply in replies)
    assert {reply.json["document"]["version"] for reply in replies} == {after}
    until(lambda: held(apis[0]) == 0)


def test_who_watches_is_listed(admin: Api) -> None:
    now = version(admin)
    admin("POST", "/v1/pools/cache/watch", watch("listed", now, 0))
    clients = admin("GET", "/v1/pools/cache/clients").json["clients"]
    (mine,) = [client for client in clients if client["client"] == "listed"]
    assert mine["version"] == now
    assert mine["stats"] == {"errors": 0}
    assert mine["address"] == "127.0.0.1"
    assert mine["seen"].endswith("Z")


def test_a_pool_that_is_deleted_meanwhile(stack: LocalStack, admin: Api) -> None:
    body = {
        "pool": "second",
        "sentinels": stack.info["sentinels"],
        "shards": [{"name": "second-0", "master": str(stack.start_redis().address)}],
    }
    assert admin("POST", "/v1/pools", body).status == 201
    result = admin.in_background("POST", "/v1/pools/second/watch", watch("app", 1))
    until(lambda: held(admin) == 1)
    assert admin("DELETE", "/v1/pools/second").status == 200
    assert result().problem == "pool-not-found"


@pytest.mark.parametrize("changer", [0, 1], ids=["same process", "other process"])
def test_the_stream(apis: list[Api], stack: LocalStack, changer: int) -> None:
    client = MetaserverClient([apis[0].address], stack.token)
    stream = client.stream("/v1/stream", {"pool": "cache"})
    name, document = next(stream)
    assert (name, document) == ("document", apis[0]("GET", "/v1/pools/cache").json)
    name, status = next(stream)
    assert name == "status"
    assert [shard["name"] for shard in status["shards"]] == ["cache-0", "cache-1"]
    after = set_timeout(apis[changer], 3 + changer)
    seen: dict[str, Any] = {}
    while not {"document", "event", "status"} <= set(seen):
        name, data = next(stream)
        if name != "status" or data["version"] == after:
            seen[name] = data
    assert seen["document"]["version"] == after
    assert seen["event"]["action"] == "pool.settings"
    assert seen["event"]["actor"] == "token:admin"


def test_a_stream_of_all_pools_hears_of_tokens(apis: list[Api], stack: LocalStack) -> None:
    client = MetaserverClient([apis[1].address], stack.token)
    stream = client.stream("/v1/stream")
    next(stream)
    made = apis[0]("POST", "/v1/tokens", {"name": "heard", "role": "read"}).json
    for name, data in stream:
        if name == "event":
            assert (data["action"], data["target"]) == ("token.create", made["id"])
            assert made["token"] not in str(data)
            break


def test_exactly_one_process_leads(apis: list[Api]) -> None:
    def leaders() -> list[str]:
        found = [api("GET", "/metrics").text.splitlines() for api in apis]
        return sorted(
            line.split()[1]
            for lines in found
            for line in lines
            if line.startswith("cachemesh_metaserver_leader ")
        )

    assert leaders() == ["0", "1"]

    def tellers() -> list[bool]:
        texts = [api("GET", "/metrics").text for api in apis]
        assert all('cachemesh_pool_shards{pool="cache"} 2' in text for text in texts)
        return sorted("cachemesh_instance_up{" in text for text in texts)

    # The other one asks no instance for a scrape, however often it is scraped.
    until(lambda: tellers() == [False, True])
    assert [api("GET", "/v1/pools/cache/status").status for api in apis] == [200, 200]


def test_a_fleet_of_one_token(admin: Api) -> None:
    """One process holds a watch of each, still answers, and answers them all within seconds."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    fleet = min(3000, most - 500)
    now = version(admin)
    host, _, port = admin.address.rpartition(":")
    body = b'{"client": "c%d", "version": %d, "wait": 60}'
    connections = []
    try:
        for number in range(fleet):
            connection = http.client.HTTPConnection(host, int(port), timeout=AT_MOST)
            connection.request(
                "POST",
                "/v1/pools/cache/watch",
                body % (number, now),
                {"Authorization": f"Bearer {admin.token}"},
            )
            connections.append(connection)
        until(lambda: held(admin) == fleet)
        began = time.monotonic()
        assert admin("GET", "/livez").status == 200
        in_time(time.monotonic() - began, 1.0)
        began = time.monotonic()
        set_timeout(admin, 9)
        for connection in connections:
            assert connection.getresponse().read().startswith(b'{"changed": true')
        in_time(time.monotonic() - began, 3.0)  # they would be held for a minute
    finally:
        for connection in connections:
            connection.close()


def request_bytes(api: Api, body: dict[str, Any], path: str = "/v1/pools/cache/watch") -> bytes:
    payload = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {api.address}\r\nAuthorization: Bearer {api.token}\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


def reply_on(sock: socket.socket) -> tuple[int, Any]:
    reply = http.client.HTTPResponse(sock)
    reply.begin()
    return reply.status, json.loads(reply.read())


def connected(api: Api) -> socket.socket:
    host, _, port = api.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=AT_MOST)


def test_a_connection_is_kept_for_further_calls_of_any_kind(admin: Api) -> None:
    now = version(admin)
    with connected(admin) as sock:
        for number in range(2):
            sock.sendall(request_bytes(admin, watch("kept", now - 1)))
            status, reply = reply_on(sock)
            assert (status, reply["changed"]) == (200, True), number
        call = request_bytes(admin, watch("kept", now))
        sock.sendall(call[:40])
        until(lambda: held(admin) == 0)
        sock.sendall(call[40:-5])
        sock.sendall(call[-5:])
        until(lambda: held(admin) == 1)
        after = set_timeout(admin, 11)
        assert reply_on(sock)[1]["document"]["version"] == after
        bad = watch("kept", after) | {"wait": -1}
        for _ in range(2):
            sock.sendall(request_bytes(admin, bad))
            status, reply = reply_on(sock)
            assert (status, reply["code"]) == (400, "bad-request")
        two = request_bytes(admin, watch("kept", 0)) + request_bytes(admin, watch("kept", after, 0))
        sock.sendall(two)
        replies = b""
        while replies.count(b'"lease"') < 2:
            replies += sock.recv(4096)
        assert replies.index(b'"changed": true') < replies.index(b'"changed": false')


def test_who_hangs_up_is_held_no_longer(admin: Api) -> None:
    with connected(admin) as sock:
        sock.sendall(request_bytes(admin, watch("gone", version(admin))))
        until(lambda: held(admin) == 1)
    until(lambda: held(admin) == 0)


def test_a_token_is_asked_for_at_each_call(admin: Api) -> None:
    made = admin("POST", "/v1/tokens", {"name": "brief", "role": "read"}).json
    brief = Api(admin.address, made["token"])
    with connected(brief) as sock:
        sock.sendall(request_bytes(brief, watch("brief", version(admin), 0)))
        assert reply_on(sock)[0] == 200
        assert admin("DELETE", f"/v1/tokens/{made['id']}").status == 204
        sock.sendall(request_bytes(brief, watch("brief", version(admin), 0)))
        status, reply = reply_on(sock)
    assert (status, reply["code"]) == (401, "unauthorized")
