"""Events that are posted to a URL: all of them, in order, across restarts, and to nobody else."""

from __future__ import annotations

import signal
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from metaserver.domain.audit_log import NewEvent
from metaserver.store import LostLeadError, Store
from metaserver.store.sqlite import SqliteStore
from metaserver.webhooks.endpoint import Endpoint, NotTakenError
from metaserver.webhooks.figures import WebhookFigures
from metaserver.webhooks.sender import WebhookSender
from metaserver.webhooks.target import WebhookTarget, targets_of
from tests.support.metaserver_loops import running
from tests.support.metaserver_process import Api, Metaserver
from tests.support.python_blocks import ROOT, module_of
from tests.support.waiting import until
from tests.support.webhook_receiver import Posted, ScriptedServer, WebhookReceiver

SECRET, PATH = "a-secret-that-signs", "/hook/a-secret-path?of=ours"


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def metaserver(receiver: WebhookReceiver, tmp_path: Path) -> Iterator[Metaserver]:
    (tmp_path / "url").write_text(receiver.url + PATH)
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    started = Metaserver(
        tmp_path,
        *("--event-webhook", f"file:{tmp_path / 'url'}"),
        *("--event-webhook-secret-file", str(tmp_path / "secret")),
    )
    yield started
    started.stop()


def start(metaserver: Metaserver) -> Api:
    """Start it, and wait until it has noted after which event it begins."""
    api = metaserver.start()
    until(lambda: figures(api).get("waiting_events") is not None)
    until(lambda: "those after event" in metaserver.log.read_text())
    return api


def make_tokens(api: Api, *names: str) -> None:
    for name in names:
        made = api("POST", "/v1/tokens", {"name": name, "role": "read"})
        assert made.status == 201, made.text


def figures(api: Api) -> dict[str, float]:
    """Return the metrics of the URL, without what their names begin with."""
    lines = api("GET", "/metrics").text.splitlines()
    samples = [line.rpartition(" ") for line in lines if line.startswith("cachemesh_webhook_")]
    return {
        name.partition("{")[0].removeprefix("cachemesh_webhook_"): float(value)
        for name, _, value in samples
    }


def details(posted: list[Posted]) -> list[str]:
    return [each.event["detail"].rpartition(" ")[2] for each in posted]


def check_signatures(posted: list[Posted], directory: Path) -> None:
    """Check them as docs/monitoring.md says."""
    with module_of(ROOT / "docs" / "monitoring.md", directory) as docs:
        for each in posted:
            assert docs.is_genuine(each.headers, each.body, SECRET.encode())
            assert not docs.is_genuine(each.headers, each.body + b" ", SECRET.encode())
            assert not docs.is_genuine(each.headers, each.body, b"another")
            assert not docs.is_genuine(each.headers, each.body, SECRET.encode(), within=-1)
            later = {**each.headers, "CacheMesh-Timestamp": "99"}
            assert not docs.is_genuine(later, each.body, SECRET.encode())
        assert not docs.is_genuine({}, b"", SECRET.encode())


def test_each_event_comes_in_order_until_it_is_taken_and_goes_on_after_a_restart(
    receiver: WebhookReceiver, metaserver: Metaserver, tmp_path: Path
) -> None:
    api = start(metaserver)
    make_tokens(api, "a", "b", "c")
    until(lambda: len(receiver.taken) == 3)
    events = api("GET", "/v1/events").json["events"][2::-1]
    assert [each.event for each in receiver.posted] == [{**e, "skipped": 0} for e in events]
    assert {each.path for each in receiver.posted} == {PATH}
    assert [each.headers["CacheMesh-Event"] for each in receiver.posted] == [
        str(each["id"]) for each in events
    ]
    check_signatures(receiver.posted, tmp_path)

    receiver.status = 500
    make_tokens(api, "d", "e")
    until(lambda: len(receiver.posted) > 4)
    assert {each.event["id"] for each in receiver.posted[3:]} == {events[-1]["id"] + 1}
    assert (figures(api)["failing"], figures(api)["waiting_events"]) == (1, 2)
    receiver.status = 204
    until(lambda: figures(api)["taken_events_total"] == 5)
    told = figures(api)
    assert (told["failing"], told["waiting_events"], told["skipped_events_total"]) == (0, 0, 0)
    assert told["failed_posts_total"] >= 2

    receiver.status = 503
    make_tokens(api, "f")
    until(lambda: figures(api)["failing"])
    metaserver.signal(signal.SIGKILL)
    metaserver.wait()
    receiver.status = 200
    api = metaserver.start()
    make_tokens(api, "g")
    until(lambda: len(receiver.taken) == 7)
    assert details(receiver.taken) == list("abcdefg"), "each once, and in order"
    log = metaserver.log.read_text()
    assert f"events to {receiver.url} are not taken: HTTP 503; they are tried again" in log
    assert SECRET not in log and "a-secret-path" not in log


def test_wrong_options_are_refused_without_repeating_a_secret(tmp_path: Path) -> None:
    refused = Metaserver(tmp_path, "--event-webhook", "ftp://hooks.example.com/s3cret")
    with pytest.raises(AssertionError, match="URL 1 is none") as error:
        refused.start()
    assert "s3cret" not in str(error.value)


def target(url: str) -> WebhookTarget:
    (found,) = targets_of([url])
    return found


def post(url: str, ca_file: Path | None = None, timeout: float = 30.0) -> None:
    ca = None if ca_file is None else str(ca_file)
    Endpoint(target(url), ca, timeout=timeout).post(b"{}", {})


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_over_tls_the_certificate_is_verified(authority: trustme.CA, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    with WebhookReceiver(serving(authority, "127.0.0.1")) as receiver:
        post(receiver.url, ca)
        assert len(receiver.posted) == 1
        with pytest.raises(NotTakenError, match="certificate verify failed"):
            post(receiver.url)
    with (
        WebhookReceiver(serving(authority, "another.example")) as receiver,
        pytest.raises(NotTakenError, match="certificate verify failed"),
    ):
        post(receiver.url, ca)
    assert receiver.posted == []


def test_no_redirect_is_followed(receiver: WebhookReceiver) -> None:
    with WebhookReceiver() as elsewhere:
        receiver.status, receiver.location = 307, elsewhere.url
        with pytest.raises(NotTakenError, match="HTTP 307: redirects are not followed"):
            post(receiver.url)
        assert elsewhere.posted == []


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "pieces",
    [(b"",), (b"HTTP/1.1 100 Continue\r\n\r\n",), (b"HTTP/1.1 100 ", b"x")],
    ids=["silence", "endless", "trickle"],
)
def test_who_does_not_come_to_an_answer_is_waited_for_no_longer(pieces: tuple[bytes, ...]) -> None:
    with (
        ScriptedServer(*pieces, again=0.05) as server,
        pytest.raises(NotTakenError, match=r"no answer within 0\.5 s"),
    ):
        post(server.url, timeout=0.5)


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ((b"HTTP/1.1 100 Continue\r\nX: ", b"x" * 20_000), "no HTTP/1.1"),
        ((b"SSH-2.0-OpenSSH_9.2p1\r\n",), "no HTTP/1.1"),
        ((b"HTTP/1.",), "closed the connection without a reply"),
        ((b"HTTP/1.1 404 ", b"Not Found\r\n\r\n"), "HTTP 404"),
    ],
    ids=["flood", "ssh", "cut off", "refused"],
)
def test_what_is_no_2xx_is_no_answer(pieces: tuple[bytes, ...], reason: str) -> None:
    with ScriptedServer(*pieces) as server, pytest.raises(NotTakenError, match=reason):
        post(server.url)


@pytest.mark.parametrize(
    "pieces",
    [(OK,), (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,), (OK[:7], OK[7:])],
    ids=["at once", "after hints", "in pieces"],
)
def test_an_answer_is_one_as_soon_as_its_status_is_there(pieces: tuple[bytes, ...]) -> None:
    with ScriptedServer(*pieces, b"X", again=0.05) as server:
        post(server.url)


def test_who_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotTakenError, match="Connection refused"):
        post("http://127.0.0.1:1")
    with pytest.raises(NotTakenError, match=r"nowhere\.invalid (cannot be|was not) resolved"):
        post("http://nowhere.invalid/a-secret")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "meta.db")
    yield store
    store.close()


def sender(store: Store, url: str, counted: WebhookFigures) -> WebhookSender:
    to = target(url)
    return WebhookSender(store, to, Endpoint(to), None, counted, jitter=lambda: 0.0)


def record(store: Store, *names: str) -> list[int]:
    return [store.record_event(NewEvent("test", detail=name)).id for name in names]


def test_what_the_audit_log_has_no_more_is_told_as_skipped(
    store: SqliteStore, receiver: WebhookReceiver
) -> None:
    ids = record(store, *"abcdef")
    store.keep_webhook_position(target(receiver.url).key, ids[1])
    store.prune_events(keep=2, since="0001-01-01T00:00:00.000Z")
    counted = WebhookFigures("here")
    with running(sender(store, receiver.url, counted)):
        until(lambda: len(receiver.taken) == 2)
        record(store, "g")
        until(lambda: counted.taken == 3)
    assert details(receiver.taken) == list("efg")
    assert [each.event["skipped"] for each in receiver.taken] == [2, 0, 0]
    assert (counted.skipped, counted.waiting, counted.leads) == (2, 0, False)
    assert "CacheMesh-Signature" not in receiver.posted[0].headers


def test_a_new_url_begins_with_what_comes_next_also_in_an_older_copy_of_the_store(
    store: SqliteStore, receiver: WebhookReceiver
) -> None:
    (newest,) = record(store, "before")
    key = target(receiver.url).key
    for known in (None, newest + 100):
        if known is not None:
            store.keep_webhook_position(key, known)
        with running(sender(store, receiver.url, WebhookFigures("here"))):
            until(lambda: store.webhook_position(key) in (newest, newest + 1))
    with running(sender(store, receiver.url, WebhookFigures("here"))):
        record(store, "after")
        until(lambda: receiver.taken)
    assert details(receiver.taken) == ["after"]


class OneLook(threading.Event):
    """Ends a sender when it waits for the first time."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


def test_after_a_time_in_which_nothing_happened_no_event_is_told_as_skipped(
    store: SqliteStore, receiver: WebhookReceiver
) -> None:
    """All events are too old by then, and deleted; no position is lost by that."""
    taken = record(store, *"abc")[-1]
    store.keep_webhook_position(target(receiver.url).key, taken)
    assert store.prune_events(keep=9, since="9999-01-01T00:00:00.000Z") == 3
    counted = WebhookFigures("here")
    posting = sender(store, receiver.url, counted)
    posting.run(OneLook())
    record(store, "d")
    posting.run(OneLook())
    assert [each.event["skipped"] for each in receiver.taken] == [0]
    assert counted.skipped == 0


def test_what_waits_is_what_the_audit_log_still_has(
    store: SqliteStore, receiver: WebhookReceiver
) -> None:
    ids = record(store, *"abcdef")
    store.keep_webhook_position(target(receiver.url).key, ids[1])
    store.prune_events(keep=3, since="0001-01-01T00:00:00.000Z")
    receiver.status = 500
    counted = WebhookFigures("here")
    sender(store, receiver.url, counted).run(OneLook())
    assert (counted.failing, counted.waiting) == (True, 3)


class EndedTerm(SqliteStore):
    """A store through which the term of a leader that does not know yet is over."""

    def check_writable(self) -> None:
        raise LostLeadError("another process leads")


def test_a_leader_whose_term_is_over_posts_nothing(
    store: SqliteStore, receiver: WebhookReceiver, tmp_path: Path
) -> None:
    (first,) = record(store, "before")
    store.keep_webhook_position(target(receiver.url).key, first)
    record(store, "after")
    late: Any = EndedTerm(tmp_path / "meta.db")
    counted = WebhookFigures("here")
    with running(sender(late, receiver.url, counted)):
        until(lambda: counted.waiting == 1)
        with running(sender(store, receiver.url, WebhookFigures("here"))):
            until(lambda: receiver.taken)
        until(lambda: counted.waiting == 0)
    late.close()
    assert details(receiver.posted) == ["after"]
