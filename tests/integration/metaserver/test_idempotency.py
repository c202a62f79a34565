"""A change is made once, however often it is sent, at whichever process, and told truly."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from metaserver.api.idempotency import digest_of
from metaserver.domain.audit_log import NewEvent
from metaserver.process.identity import process_identity
from metaserver.store import CallId
from metaserver.store.sqlite import SqliteStore
from tests.support.metaserver_process import Api, Metaserver, Reply

NOBODY = "127.0.0.1:1"  # where nothing listens
DEAD = f"{process_identity().rpartition(':')[0]}:1"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Metaserver]]:
    """Two metaservers on one store."""
    directory = tmp_path_factory.mktemp("metaservers")
    found = [Metaserver(directory), Metaserver(directory)]
    with ExitStack() as running:
        for server in found:
            running.enter_context(server)
        yield found


@pytest.fixture
def apis(servers: list[Metaserver]) -> list[Api]:
    return [server.api() for server in servers]


@pytest.fixture
def store(servers: list[Metaserver]) -> Iterator[SqliteStore]:
    store = SqliteStore(servers[0].db)
    yield store
    store.close()


@pytest.fixture
def pool(store: SqliteStore) -> str:
    """A pool of this test, of which no instance answers."""
    name = f"pool-{len(store.versions())}"
    placement = SlotsPlacement.even([Shard(f"{name}-0")])
    document = PoolDocument(name, 1, placement, sentinels=(NOBODY,))
    store.create_document(document, NewEvent("pool.create"), masters={f"{name}-0": NOBODY})
    return name


def keyed(api: Api, key: str, method: str, path: str, body: Any = None) -> Reply:
    return api(method, path, body, headers={"Idempotency-Key": key})


def settings_of(pool: str) -> str:
    return f"/v1/pools/{pool}/settings"


def poll_interval(seconds: float) -> dict[str, Any]:
    return {"settings": {"poll_interval": seconds}}


def changes(store: SqliteStore, pool: str) -> list[str]:
    return [each.action for each in store.events(pool) if each.action == "pool.settings"]


def test_sent_again_it_gets_the_same_answer(
    servers: list[Metaserver], apis: list[Api], store: SqliteStore, pool: str
) -> None:
    first = keyed(apis[0], f"{pool}-one", "PATCH", settings_of(pool), poll_interval(2))
    assert first.status == 200
    assert first.json["version_after"] == 2
    assert "idempotency-replayed" not in first.headers
    other = keyed(apis[0], f"{pool}-other", "PATCH", settings_of(pool), poll_interval(3))
    assert other.json["version_after"] == 3
    servers[0].stop()
    for api in (apis[1], servers[0].start()):
        again = keyed(api, f"{pool}-one", "PATCH", settings_of(pool), poll_interval(2))
        assert (again.status, again.json) == (200, first.json)
        assert again.headers["idempotency-replayed"] == "true"
    assert len(changes(store, pool)) == 2
    assert keyed(apis[1], f"{pool}-one", "PATCH", settings_of(pool), poll_interval(9)).problem == (
        "idempotency-key-reused"
    )
    preview = keyed(
        apis[1], f"{pool}-one", "PATCH", settings_of(pool), {**poll_interval(9), "dry_run": True}
    )
    assert preview.json["dry_run"]


def test_many_at_once(apis: list[Api], store: SqliteStore, pool: str) -> None:
    def send(number: int) -> Reply:
        return keyed(apis[number % 2], f"{pool}-one", "PATCH", settings_of(pool), poll_interval(2))

    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(send, range(16)))
    assert {reply.text for reply in replies} == {replies[0].text}
    assert replies[0].json["version_after"] == 2
    assert len(changes(store, pool)) == 1


def test_a_refusal_is_not_kept(apis: list[Api], pool: str) -> None:
    body = {**poll_interval(3), "version": 2}
    assert (
        keyed(apis[0], f"{pool}-one", "PATCH", settings_of(pool), body).problem
        == "version-conflict"
    )
    assert apis[0]("PATCH", settings_of(pool), poll_interval(2)).status == 200
    assert (
        keyed(apis[1], f"{pool}-one", "PATCH", settings_of(pool), body).json["version_after"] == 3
    )


def test_the_text_of_a_token_is_told_once(apis: list[Api]) -> None:
    body = {"name": "app", "role": "read"}
    made = keyed(apis[0], "token-one", "POST", "/v1/tokens", body)
    again = keyed(apis[1], "token-one", "POST", "/v1/tokens", body)
    assert again.problem == "answer-lost"
    assert again.json["event"]["target"] == made.json["id"]
    assert made.json["token"] not in again.text
    path = f"/v1/tokens/{made.json['id']}"
    assert [keyed(api, "token-two", "DELETE", path).status for api in apis] == [204, 204]
    assert apis[0]("DELETE", path).problem == "token-not-found"


@pytest.mark.parametrize("key", ["", "x" * 65, "a b", "\u00e4"])
def test_what_is_no_key(apis: list[Api], pool: str, key: str) -> None:
    assert (
        keyed(apis[0], key, "PATCH", settings_of(pool), poll_interval(2)).problem == "bad-request"
    )


def begun(store: SqliteStore, pool: str, key: str, seconds: float) -> CallId:
    """Leave a change of settings as a process leaves it that dies before it was made."""
    digest = digest_of("changeSettings", {"pool": pool}, {}, poll_interval(seconds))
    return begun_call(store, key, digest)


def begun_call(store: SqliteStore, key: str, digest: str) -> CallId:
    """Leave a call as a process leaves it that dies before its change."""
    (admin,) = [token for token in store.tokens() if token.name == "admin"]
    call = CallId(admin.id, key)
    assert store.begin_call(call, digest, DEAD) is None
    return call


def test_of_a_process_that_died_before_the_change(
    apis: list[Api], store: SqliteStore, pool: str
) -> None:
    begun(store, pool, f"{pool}-one", 2)
    assert (
        keyed(apis[1], f"{pool}-one", "PATCH", settings_of(pool), poll_interval(2)).json[
            "version_after"
        ]
        == 2
    )
    assert len(changes(store, pool)) == 1


def test_of_a_process_that_died_after_the_change(
    apis: list[Api], store: SqliteStore, pool: str
) -> None:
    document = store.document(pool)
    assert document is not None
    call = begun(store, pool, f"{pool}-one", 2)
    event = NewEvent("pool.settings", "token:admin", pool, detail="set poll_interval to 2")
    store.calling(call, DEAD).put_document(
        document.replace(settings={"poll_interval": 2}), 1, event
    )
    assert apis[0]("PATCH", settings_of(pool), poll_interval(3)).json["version_after"] == 3
    told = keyed(apis[1], f"{pool}-one", "PATCH", settings_of(pool), poll_interval(2))
    assert told.status == 200
    assert (told.json["version_before"], told.json["version_after"]) == (1, 2)
    assert told.json["summary"] == "set poll_interval to 2"
    assert len(changes(store, pool)) == 2


@pytest.mark.parametrize(
    ("operation", "method", "query", "body", "action"),
    [
        ("setPace", "PATCH", {}, {"paused": True}, "resize.paced"),
        ("giveUpResize", "DELETE", {"dry_run": False}, {}, "resize.turned-back"),
        ("markLost", "POST", {}, {"shard": "one"}, "resize.shard-lost"),
    ],
)
def test_of_a_process_that_died_after_it_had_changed_a_resize(
    apis: list[Api],
    store: SqliteStore,
    pool: str,
    operation: str,
    method: str,
    query: dict[str, Any],
    body: dict[str, Any],
    action: str,
) -> None:
    digest = digest_of(operation, {"pool": pool}, query, body)
    call = begun_call(store, f"{pool}-one", digest)
    made = NewEvent(action, "token:admin", pool, "one", f"add one: {action}")
    store.calling(call, DEAD).record_event(made)
    path = f"/v1/pools/{pool}/resize" + ("/lost" if operation == "markLost" else "")
    told = keyed(apis[1], f"{pool}-one", method, path, body or None)
    assert (told.status, told.json["summary"]) == (200, made.detail), told.text
    assert told.headers["idempotency-replayed"] == "true"
    assert "ended before it had answered" in told.json["warnings"][0]
