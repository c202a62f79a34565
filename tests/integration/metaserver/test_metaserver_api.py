"""The API on a real stack: access, and refused requests; nothing here changes the pool."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from cachemesh.local import LocalStack
from metaserver.api.contract import OPERATIONS, openapi
from tests.support.metaserver_process import Api
from tests.support.plain_redis import connect
from tests.support.sentinels import keep_masters
from tests.support.waiting import until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=1, dashboard=False) as stack:
        keep_masters(stack)
        yield stack


@pytest.fixture(scope="module")
def admin(stack: LocalStack) -> Api:
    return Api(stack.info["metaservers"][0], stack.token)


@pytest.fixture(scope="module")
def reader(admin: Api) -> Api:
    return admin.as_reader()


@pytest.fixture(autouse=True)
def pool_stays_as_it_is(admin: Api) -> Iterator[None]:
    before = admin("GET", "/v1/pools/cache").json
    yield
    assert admin("GET", "/v1/pools/cache").json == before
    assert admin("GET", "/v1/pools").json["pools"][0]["shards"] == 2


def filled(path: str) -> str:
    return path.format(
        pool="cache", shard="cache-0", sentinel="nobody:1", token="nobody", client="nobody"
    )


class TestAccess:
    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.id)
    def test_without_a_token(self, admin: Api, operation: Any) -> None:
        for token in (None, "wrong", ""):
            reply = Api(admin.address, token)(operation.method, filled(operation.path))
            if operation.access == "public":
                assert reply.status == 200
            else:
                assert reply.problem == "unauthorized"
                assert reply.headers["www-authenticate"].startswith("Bearer")

    @pytest.mark.parametrize(
        "operation", [each for each in OPERATIONS if each.access == "admin"], ids=lambda o: o.id
    )
    def test_a_reader_changes_nothing(self, reader: Api, operation: Any) -> None:
        reply = reader(operation.method, filled(operation.path), {})
        assert reply.problem == "forbidden"
        assert "reader" in reply.json["detail"]

    def test_a_reader_reads(self, reader: Api) -> None:
        paths = ("", "/status", "/sentinels", "/clients", "/shards", "/shards/cache-0")
        for path in (*(f"/v1/pools/cache{path}" for path in paths), "/v1/events", "/metrics"):
            assert reader("GET", path).status == 200, path

    @pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer  ", "bearer\tx", "x"])
    def test_other_kinds_of_credentials(self, admin: Api, header: str) -> None:
        reply = Api(admin.address)("GET", "/v1/pools", headers={"Authorization": header})
        assert reply.problem == "unauthorized"

    def test_paths_that_are_not_there_need_a_token_too(self, admin: Api) -> None:
        assert Api(admin.address)("GET", "/v1/nothing").problem == "unauthorized"
        assert Api(admin.address)("PUT", "/v1/pools").problem == "unauthorized"

    def test_tokens_come_and_go(self, admin: Api) -> None:
        made = admin("POST", "/v1/tokens", {"name": "short", "role": "admin"}).json
        assert set(made) == {"id", "name", "role", "pools", "expires", "token"}
        mine = Api(admin.address, made["token"])
        listed = mine("GET", "/v1/tokens").json["tokens"]
        assert made["token"] not in json.dumps(listed)
        (me,) = [each for each in listed if each["name"] == "short"]
        assert me["last_used"] is not None
        assert admin("POST", "/v1/tokens", {"name": "short", "role": "read"}).problem == (
            "token-exists"
        )
        assert mine("DELETE", f"/v1/tokens/{made['id']}").status == 204
        assert mine("GET", "/v1/tokens").problem == "unauthorized"
        assert admin("DELETE", f"/v1/tokens/{made['id']}").problem == "token-not-found"
        events = admin("GET", "/v1/events").json["events"]
        assert [event["action"] for event in events[:2]] == ["token.revoke", "token.create"]
        assert made["token"] not in json.dumps(events)

    def test_the_last_admin_stays(self, admin: Api) -> None:
        tokens = admin("GET", "/v1/tokens").json["tokens"]
        (only,) = [each for each in tokens if each["role"] == "admin"]
        assert admin("DELETE", f"/v1/tokens/{only['id']}").problem == "last-admin"


class TestEveryErrorIsAProblem:
    def test_no_such_path(self, admin: Api) -> None:
        for path in ("/", "/v1", "/v1/pools/", "/v1/pools/cache/nothing", "/static/x", "/v1/%00"):
            assert admin("GET", path).problem == "not-found", path

    def test_no_such_method(self, admin: Api) -> None:
        for method in ("PUT", "DELETE", "OPTIONS"):
            reply = admin(method, "/v1/pools")
            assert reply.problem == "method-not-allowed"
            assert "POST" in reply.headers["allow"]
        for path in ("/livez", "/readyz", "/leader", "/openapi.json"):
            reply = Api(admin.address)("TRACE", path)
            assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")

    @pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b"\xff\xfe", b"{'a': 1}", b"[1,]"])
    def test_malformed_json(self, admin: Api, body: bytes) -> None:
        reply = admin("POST", "/v1/pools/cache/shards", raw=body)
        assert reply.problem == "bad-request"
        assert "JSON" in reply.json["detail"]

    @pytest.mark.parametrize(
        "body", [b"[" * 16_000, b'{"weight": ' + b"9" * 10_000 + b"}", b'{"weight": NaN}']
    )
    def test_json_that_means_harm(self, admin: Api, body: bytes) -> None:
        assert admin("PATCH", "/v1/pools/cache/shards/cache-0", raw=body).problem == "bad-request"

    @pytest.mark.parametrize("value", ["9" * 30, "1e999", "[" * 40 + "]" * 40, '"\\ud800"'])
    def test_json_with_a_value_that_is_refused(self, admin: Api, value: str) -> None:
        reply = admin("POST", "/v1/restore", raw=f'{{"backup": {{"any": {value}}}}}'.encode())
        assert (reply.status, reply.problem) == (422, "invalid-content")
        assert "JSON" in reply.json["detail"]

    def test_too_large(self, admin: Api) -> None:
        reply = admin("POST", "/v1/pools", raw=b" " * (1024 * 1024 + 1))
        assert reply.problem == "too-large"

    def test_unknown_pool(self, admin: Api) -> None:
        spare = {"name": "x", "master": "127.0.0.1:1"}
        calls: list[tuple[str, str, Any]] = [
            ("GET", "", None),
            ("GET", "/status", None),
            ("GET", "/clients", None),
            ("GET", "/shards", None),
            ("GET", "/shards/cache-0", None),
            ("POST", "/watch", {"client": "c", "version": 0}),
            ("POST", "/shards", spare),
            ("PATCH", "/shards/x", {"weight": 1}),
            ("PATCH", "/settings", {"settings": {}}),
            ("DELETE", "", None),
            ("DELETE", "/shards/x", None),
        ]
        for method, path, body in calls:
            for pool in ("nothing", "a%0d%0ab", "x" * 300):
                reply = admin(method, f"/v1/pools/{pool}{path}", body)
                assert reply.problem == "pool-not-found", (method, path)
        assert "'nothing'" in admin("GET", "/v1/pools/nothing").json["detail"]
        assert admin("GET", "/v1/stream?pool=nothing").problem == "pool-not-found"

    def test_unknown_shard(self, admin: Api) -> None:
        path = "/v1/pools/cache/shards/nothing"
        for reply in (
            admin("GET", path),
            admin("PATCH", path, {"weight": 2}),
            admin("DELETE", path),
        ):
            assert reply.problem == "shard-not-found"
            assert reply.json["next"]

    def test_version_conflict(self, admin: Api, stack: LocalStack) -> None:
        version = admin("GET", "/v1/pools/cache").json["version"]
        shard = {"name": "x", "master": stack.info["shards"][0]["master"], "version": 99}
        for reply in (
            admin("POST", "/v1/pools/cache/shards", shard),
            admin("PATCH", "/v1/pools/cache/shards/cache-0", {"weight": 2, "version": 99}),
            admin("PATCH", "/v1/pools/cache/settings", {"settings": {}, "version": 99}),
            admin("DELETE", "/v1/pools/cache/shards/cache-0?version=99"),
            admin("DELETE", "/v1/pools/cache?version=99"),
        ):
            assert reply.problem == "version-conflict"
            assert (reply.json["expected"], reply.json["actual"]) == (99, version)

    def test_bad_query(self, admin: Api) -> None:
        bad = (
            *("limit=0", "limit=x", "after=-1", "before=0", "since=1h", "colour=red"),
            "limit=1&limit=2",
        )
        for query in bad:
            reply = admin("GET", f"/v1/events?{query}")
            assert reply.problem == "bad-request"
            assert reply.json["field"] == query.partition("=")[0]

    @pytest.mark.parametrize("since", ["2026-02-30", "2026-01-01T25:00Z", "%EF%BC%92026-01-01"])
    def test_events_since_a_time_that_no_clock_has(self, admin: Api, since: str) -> None:
        """Nothing would be found, as if nothing had happened."""
        reply = admin("GET", f"/v1/events?since={since}")
        assert (reply.problem, reply.json["field"]) == ("invalid-content", "since")


class TestBadShards:
    """Invalid bodies of POST .../shards; the address is good or does not matter."""

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"name": "cache-9\r\nSENTINEL RESET *"}, "name"),
            ({"name": "c" * 65}, "name"),
            ({"name": ""}, "name"),
            ({"name": "-c"}, "name"),
            ({"weight": 0}, "weight"),
            ({"weight": -1}, "weight"),
            ({"weight": True}, "weight"),
            ({"weight": 2.5}, "weight"),
            ({"weight": 1001}, "weight"),
            ({"weight": "1"}, "weight"),
            ({"master": "nonsense"}, "master"),
            ({"master": "127.0.0.1:0"}, "master"),
            ({"master": "127.0.0.1:99999"}, "master"),
            ({"master": ["127.0.0.1:1"]}, "master"),
            ({"unheard_of": 1}, "unheard_of"),
            ({"version": "1"}, "version"),
        ],
    )
    def test_bad_request(self, admin: Api, change: dict[str, Any], field: str | None) -> None:
        good = {"name": "cache-9", "master": "127.0.0.1:6379"}
        reply = admin("POST", "/v1/pools/cache/shards", {**good, **change})
        assert reply.problem == "bad-request"
        assert reply.json.get("field") == field
        assert reply.json["next"]

    def test_a_name_that_is_there(self, admin: Api) -> None:
        body = {"name": "cache-0", "master": "127.0.0.1:6379"}
        assert admin("POST", "/v1/pools/cache/shards", body).problem == "shard-exists"

    def rejected(self, admin: Api, master: str, reason: str, **more: Any) -> None:
        for dry_run in (True, False):
            body = {"name": "cache-9", "master": master, "dry_run": dry_run, **more}
            reply = admin("POST", "/v1/pools/cache/shards", body)
            assert reply.problem == "instance-rejected", reply.text
            assert reply.json["reason"] == reason, reply.text
            assert master in reply.json["detail"]
            assert reply.json["next"]

    @pytest.mark.parametrize("allow_nonempty", [False, True])
    def test_already_a_master_of_the_pool(
        self, admin: Api, stack: LocalStack, allow_nonempty: bool
    ) -> None:
        # An instance in use with keys: the error must not advise to flush it.
        master = stack.info["shards"][0]["master"]
        with connect(master) as client:
            client.set("held", 1)
            for address in (master, master.replace("127.0.0.1", "localhost")):
                self.rejected(
                    admin, address, "in-use", strategy="drop", allow_nonempty=allow_nonempty
                )
            client.delete("held")

    def test_a_replica(self, admin: Api, stack: LocalStack) -> None:
        self.rejected(admin, stack.info["shards"][0]["replicas"][0], "not-master")

    def test_a_sentinel(self, admin: Api, stack: LocalStack) -> None:
        self.rejected(admin, stack.info["sentinels"][0], "not-master")

    def test_nobody_listens(self, admin: Api) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self.rejected(admin, f"127.0.0.1:{unused.getsockname()[1]}", "unreachable")

    def test_one_that_hangs(self, admin: Api) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            self.rejected(admin, f"127.0.0.1:{silent.getsockname()[1]}", "timeout")

    def test_not_redis(self, admin: Api) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:

            def answer() -> None:
                for _ in range(8):
                    try:
                        connection, _address = server.accept()
                    except OSError:
                        return
                    with connection:
                        connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

            threading.Thread(target=answer, daemon=True).start()
            self.rejected(admin, f"127.0.0.1:{server.getsockname()[1]}", "not-redis")

    def test_another_password(self, admin: Api, stack: LocalStack) -> None:
        process = stack.start_redis(None, "requirepass secret-of-another")
        self.rejected(admin, str(process.address), "auth")

    def test_not_empty(self, admin: Api, stack: LocalStack) -> None:
        process = stack.start_redis()
        with redis.Redis(process.address.host, process.address.port) as client:
            client.set("left", "over")
        self.rejected(admin, str(process.address), "not-empty")

    def test_outside_the_allowed_networks(self, admin: Api) -> None:
        self.rejected(admin, "192.0.2.7:6379", "address-not-allowed")


class TestBadPools:
    def refused(self, admin: Api, code: str, **change: Any) -> dict[str, Any]:
        body = {
            "pool": "second",
            "sentinels": ["127.0.0.1:26379"],
            "shards": [{"name": "second-0", "master": "127.0.0.1:6379"}],
            **change,
        }
        reply = admin("POST", "/v1/pools", body)
        assert reply.problem == code, reply.text
        found: dict[str, Any] = reply.json
        return found

    def test_a_pool_that_is_there(self, admin: Api) -> None:
        self.refused(admin, "pool-exists", pool="cache")

    def test_bad_fields(self, admin: Api) -> None:
        shard = {"name": "s", "master": "127.0.0.1:1"}
        changes: list[dict[str, Any]] = [
            {"pool": "a b"},
            {"pool": "p" * 65},
            {"pool": None},
            {"sentinels": []},
            {"sentinels": "127.0.0.1:26379"},
            {"sentinels": ["nonsense"]},
            {"shards": []},
            {"shards": [{**shard, "weight": 0}]},
            {"quorum": 0},
            {"settings": {"command_timeout": "1"}},
            {"settings": {"unheard_of": 1}},
            {"unheard_of": 1},
        ]
        for change in changes:
            self.refused(admin, "bad-request", **change)
        twice = [shard, {**shard, "master": "127.0.0.1:2"}]
        for change in ({"shards": twice}, {"quorum": 2}, {"strategy": "slots", "named": True}):
            self.refused(admin, "invalid-content", **change)

    def test_the_same_instance_twice(self, admin: Api, stack: LocalStack) -> None:
        port = stack.start_redis().address.port
        shards = [
            {"name": "s-0", "master": f"127.0.0.1:{port}"},
            {"name": "s-1", "master": f"localhost:{port}"},
        ]
        sentinels = stack.info["sentinels"]
        body = self.refused(admin, "instance-rejected", shards=shards, sentinels=sentinels)
        assert body["reason"] == "in-use"

    def test_a_shard_that_these_sentinels_know(self, admin: Api, stack: LocalStack) -> None:
        shards = [{"name": "cache-0", "master": str(stack.start_redis().address)}]
        self.refused(admin, "shard-exists", shards=shards, sentinels=stack.info["sentinels"])

    def test_no_sentinel_answers(self, admin: Api, stack: LocalStack) -> None:
        shards = [{"name": "second-0", "master": str(stack.start_redis().address)}]
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{unused.getsockname()[1]}"
            body = self.refused(admin, "sentinel-failed", shards=shards, sentinels=[address])
        assert address in body["detail"]

    def test_sentinels_outside_the_allowed_networks(self, admin: Api) -> None:
        body = self.refused(admin, "instance-rejected", sentinels=["192.0.2.7:26379"])
        assert body["reason"] == "address-not-allowed"


class TestProbes:
    def test_the_contract_is_served(self, admin: Api) -> None:
        assert Api(admin.address)("GET", "/openapi.json").json == openapi()

    def test_metrics(self, admin: Api) -> None:
        up = 'cachemesh_shard_up{pool="cache",shard="cache-0"} 1'
        text = until(lambda: up in (found := admin("GET", "/metrics").text) and found)
        assert 'cachemesh_pool_shards{pool="cache"} 2' in text
        assert "cachemesh_metaserver_requests_total{" in text

    def test_head(self, admin: Api) -> None:
        reply = admin("HEAD", "/v1/pools/cache")
        assert (reply.status, reply.text) == (200, "")
