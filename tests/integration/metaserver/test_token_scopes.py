"""Tokens that are limited to pools, that end, and whose text is replaced while it is in use."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachemesh.core.errors import MetaserverError
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.bearer_token import find_token
from cachemesh.discovery.metaserver import MetaserverClient
from metaserver.api.contract import OPERATIONS, Operation
from metaserver.domain.audit_log import NewEvent
from metaserver.store.sqlite import SqliteStore
from tests.support.metaserver_process import Api, Metaserver
from tests.support.waiting import AT_MOST, until

NOBODY = "127.0.0.1:1"  # where nothing listens: refused at once
POOLS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A metaserver with pools of which no instance and no Sentinel answers."""
    server = Metaserver(tmp_path_factory.mktemp("scopes"))
    store = SqliteStore(server.db)
    for pool in POOLS:
        placement = SlotsPlacement.even([Shard(f"{pool}-0")])
        document = PoolDocument(pool, 1, placement, sentinels=(NOBODY,))
        event = NewEvent("pool.create", pool=pool)
        store.create_document(document, event, masters={f"{pool}-0": NOBODY})
    store.close()
    with server as api:
        yield api
        log = server.log.read_text()
    assert "refused getStatus of pool green by token:blue from 127.0.0.1: forbidden" in log
    assert "refused listPools by anybody from 127.0.0.1: unauthorized" in log
    assert "no-such" not in log


def limited(admin: Api, name: str, role: str = "read", **limits: object) -> Api:
    made = admin("POST", "/v1/tokens", {"name": name, "role": role, **limits})
    assert made.status == 201, made.text
    return Api(admin.address, made.json["token"])


@pytest.fixture(scope="module")
def blue(admin: Api) -> Api:
    """An admin's token for the pools blue and red."""
    return limited(admin, "blue", "admin", pools=["blue", "red"])


@pytest.mark.parametrize(
    "operation", [o for o in OPERATIONS if o.access != "public"], ids=lambda each: each.id
)
def test_other_pools_are_refused_by_every_operation(blue: Api, operation: Operation) -> None:
    """And so are pools that do not exist, in the same words."""
    said = []
    for pool in ("green", "no-such"):
        names = {"pool": pool, "shard": "s-0", "sentinel": "s:1", "client": "c", "token": "t"}
        path = operation.path.format_map(names)
        if operation.listing and operation.id in ("listEvents", "stream"):
            path += f"?pool={pool}"
        elif operation.listing:
            return  # test_listings_show_its_pools_alone
        watch = {"client": "c", "version": 0, "wait": 0}
        reply = blue(operation.method, path, watch if operation.id == "watchPool" else {})
        assert reply.problem == "forbidden"
        said.append(reply.json["detail"].replace(pool, "POOL"))
    assert said[0] == said[1]


def test_listings_show_its_pools_alone(admin: Api, blue: Api) -> None:
    assert [each["pool"] for each in blue("GET", "/v1/pools").json["pools"]] == ["blue", "red"]
    assert [each["pool"] for each in admin("GET", "/v1/pools").json["pools"]] == list(POOLS)
    events = blue("GET", "/v1/events?limit=1000").json["events"]
    assert {event["pool"] for event in events} == {"blue", "red"}
    ids = [event["id"] for event in events]
    assert ids == sorted(ids, reverse=True)
    assert len(blue("GET", "/v1/events?limit=1").json["events"]) == 1
    metrics = blue("GET", "/metrics").text
    assert 'pool="blue"' in metrics
    assert "green" not in metrics
    assert "green" in admin("GET", "/metrics").text


def test_a_token_is_told_what_it_is_good_for(admin: Api, blue: Api) -> None:
    assert blue("GET", "/v1/token").json | {"id": ""} == {
        "id": "",
        "name": "blue",
        "role": "admin",
        "pools": ["blue", "red"],
        "expires": None,
    }
    own = admin("GET", "/v1/token").json
    assert (own["role"], own["pools"]) == ("admin", None)
    assert Api(admin.address)("GET", "/v1/token").problem == "unauthorized"


def test_it_does_its_work_in_its_pools(blue: Api) -> None:
    assert blue("GET", "/v1/pools/blue/status").status == 200
    changed = blue("PATCH", "/v1/pools/blue/settings", {"settings": {"command_timeout": 2.0}})
    assert changed.status == 200, changed.text
    watched = blue("POST", "/v1/pools/red/watch", {"client": "c", "version": 0})
    assert watched.json["document"]["pool"] == "red"


def test_streams_show_its_pools_alone(admin: Api, blue: Api) -> None:
    host, _, port = admin.address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=AT_MOST)
    connection.request("GET", "/v1/stream", headers={"Authorization": f"Bearer {blue.token}"})
    try:
        lines = connection.getresponse()
        assert lines.readline() == b": welcome\n"
        for pool in ("green", "red"):
            change = {"settings": {"command_timeout": 3.0}}
            assert admin("PATCH", f"/v1/pools/{pool}/settings", change).status == 200
        seen: list[dict[str, Any]] = []
        while not any(each.get("pool") == "red" and each.get("version") == 2 for each in seen):
            line = lines.readline().decode()
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: ")))
        assert "green" not in json.dumps(seen)
    finally:
        connection.close()


def test_a_token_that_ends(admin: Api) -> None:
    short = limited(admin, "short", expires_in=1)
    until(lambda: short("GET", "/v1/pools").status == 401)
    assert short("GET", "/v1/pools").problem == "unauthorized"


def test_a_text_is_replaced_without_a_moment_without_one(admin: Api) -> None:
    made = admin("POST", "/v1/tokens", {"name": "app", "role": "read", "pools": ["red"]}).json
    before = Api(admin.address, made["token"])
    replaced = admin("POST", f"/v1/tokens/{made['id']}/rotate", {"overlap": 600}).json
    after = Api(admin.address, replaced["token"])
    for each in (before, after):
        assert [p["pool"] for p in each("GET", "/v1/pools").json["pools"]] == ["red"]
    (listed,) = [t for t in admin("GET", "/v1/tokens").json["tokens"] if t["name"] == "app"]
    assert listed["former_until"] == replaced["former_until"] > time.strftime("%Y-%m-%dT")
    events = json.dumps(admin("GET", "/v1/events").json)
    assert "token.rotate" in events
    assert made["token"] not in events
    assert replaced["token"] not in events
    now = admin("POST", f"/v1/tokens/{made['id']}/rotate", {"overlap": 0}).json
    assert after("GET", "/v1/pools").problem == "unauthorized"
    assert before("GET", "/v1/pools").status == 200  # as it was promised
    assert Api(admin.address, now["token"])("GET", "/v1/pools").status == 200
    assert admin("DELETE", f"/v1/tokens/{made['id']}").status == 204
    assert before("GET", "/v1/pools").problem == "unauthorized"
    assert admin("POST", "/v1/tokens/none/rotate", {}).problem == "token-not-found"


def test_a_former_text_is_good_no_longer_than_its_token(admin: Api) -> None:
    body = {"name": "ending", "role": "read", "expires_in": 60}
    made = admin("POST", "/v1/tokens", body).json
    replaced = admin("POST", f"/v1/tokens/{made['id']}/rotate", {"overlap": 600}).json
    assert replaced["former_until"] == replaced["expires"] == made["expires"]
    (event,) = admin("GET", "/v1/events?action=token.rotate&limit=1").json["events"]
    assert event["detail"].endswith(f"the one from before is good until {made['expires']}")


def test_a_token_file_is_read_again_when_its_text_is_refused(admin: Api, tmp_path: Path) -> None:
    made = admin("POST", "/v1/tokens", {"name": "filed", "role": "admin"}).json
    file = tmp_path / "token"
    file.write_text(made["token"])
    client = MetaserverClient([admin.address], find_token(None, str(file)))
    assert client.request("GET", "/v1/pools")["pools"]
    rotated = admin("POST", f"/v1/tokens/{made['id']}/rotate", {"overlap": 0}).json
    with pytest.raises(MetaserverError):
        client.request("GET", "/v1/pools")  # the file still has the text from before
    file.write_text(rotated["token"])
    change = {"settings": {"command_timeout": 4.0}}
    assert client.request("PATCH", "/v1/pools/green/settings", change)["pool"] == "green"
    again = admin("POST", f"/v1/tokens/{made['id']}/rotate", {"overlap": 0}).json
    file.write_text(again["token"])
    name, _document = next(client.stream("/v1/stream", {"pool": "green"}))
    assert name == "document"
    assert admin("DELETE", f"/v1/tokens/{made['id']}").status == 204
