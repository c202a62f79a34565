"""What either kind of client makes of error replies, broken connections and bad arguments.

One table of calls, each of which a server answers in turn with everything that may go wrong.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

import cachemesh
from cachemesh.core.resilience import retry
from cachemesh.core.resilience.error_classification import Failure
from tests.support.both_clients import CLIENTS, calling
from tests.support.movable_pool import MovablePool
from tests.support.rogue_server import HANG_UP, Server, Words, greeting, silent
from tests.support.ways_to_send import SHARDS, USES, Master, Pool, outcome, pool_of

both = pytest.mark.parametrize("kind", CLIENTS)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with pool_of(Master(), Master(), tmp_path) as made:
        yield made


@contextmanager
def failing_cases() -> Iterator[Callable[[str, object, bool], None]]:
    """All cases of a table are tried, and those that are not as told are named together."""
    wrong: list[str] = []

    def check(name: str, came: object, good: bool) -> None:
        if not good:
            wrong.append(f"{name}: {type(came).__name__} {came}"[:300])

    yield check
    assert wrong == []


FINAL: dict[str, tuple[bytes, type[Exception]]] = {
    "BUSY": (b"-BUSY Redis is busy running a script\r\n", redis.ResponseError),
    "OOM": (b"-OOM command not allowed\r\n", redis.exceptions.OutOfMemoryError),
    "NOPERM": (b"-NOPERM no permissions\r\n", redis.exceptions.NoPermissionError),
    "WRONGTYPE": (b"-WRONGTYPE Operation against a key\r\n", redis.ResponseError),
    "MISCONF": (b"-MISCONF Redis is configured to save\r\n", redis.ResponseError),
    "NOSCRIPT": (b"-NOSCRIPT No matching script\r\n", redis.exceptions.NoScriptError),
    "MOVED": (b"-MOVED 3999 127.0.0.1:6381\r\n", redis.ResponseError),
    "NOAUTH": (b"-NOAUTH Authentication required.\r\n", redis.AuthenticationError),
    "a text of its own": (b"-what went wrong\r\n", redis.ResponseError),
}
PASSING = {
    "READONLY": b"-READONLY You can't write against a read only replica.\r\n",
    "LOADING": b"-LOADING Redis is loading the dataset in memory\r\n",
    "MASTERDOWN": b"-MASTERDOWN Link with MASTER is down\r\n",
    "CLUSTERDOWN": b"-CLUSTERDOWN The cluster is down\r\n",
    "TRYAGAIN": b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
    "NOREPLICAS": b"-NOREPLICAS Not enough good replicas to write.\r\n",
    "UNBLOCKED": b"-UNBLOCKED force unblock from blocking operation\r\n",
}


@both
@pytest.mark.parametrize("said", FINAL)
def test_what_a_server_says_of_the_command_is_the_apps_to_see(
    pool: Pool, said: str, kind: str
) -> None:
    """At once, as redis-py raises it, and nothing is sent again or dropped."""
    reply, error = FINAL[said]
    with calling(kind, pool.site.url, retry_writes=True) as call, failing_cases() as check:
        for name, use in USES.items():
            pool.say(reply)
            came = outcome(use, call, call.mesh, pool.keys())
            fits = isinstance(came, error) and not isinstance(came, cachemesh.CacheMeshError)
            check(name, came, fits and set(pool.ran(use.sent)) == {1})
        assert all(each.breaker == "closed" for each in call.mesh.health().values())


@both
@pytest.mark.parametrize("said", PASSING)
def test_what_has_surely_not_run_is_sent_again(pool: Pool, said: str, kind: str) -> None:
    with calling(kind, pool.site.url) as call, failing_cases() as check:
        for name, use in USES.items():
            pool.say(PASSING[said], times=1)
            came = outcome(use, call, call.mesh, pool.keys())
            good = not isinstance(came, Exception) and set(pool.ran(use.sent)) == {2}
            check(name, came, good)


@both
@pytest.mark.parametrize("said", ["READONLY", "LOADING", "UNBLOCKED", "max clients"])
def test_a_shard_that_goes_on_refusing(pool: Pool, said: str, kind: str) -> None:
    """It does not serve: an error of ours, or a miss."""
    reply = PASSING.get(said, b"-ERR max number of clients reached\r\n")
    with calling(kind, pool.site.url, command_timeout=0.1) as call, failing_cases() as check:
        view = call.mesh.with_options(on_error="miss")
        for name, use in USES.items():
            if said not in PASSING and use.piped:
                continue  # there, it stands in the list as what it is
            pool.say(reply)
            came = outcome(use, call, call.mesh, pool.keys())
            check(name, came, isinstance(came, cachemesh.ShardUnavailableError))
            came = outcome(use, call, view, pool.keys())
            check(f"{name}, miss", came, isinstance(came, Exception) != use.misses)


BROKEN = {
    "hung up": HANG_UP,
    "half a reply": b"$5\r\nab" + HANG_UP,
    "garbage": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


@both
@pytest.mark.parametrize("how", BROKEN)
def test_a_single_connection_that_breaks(how: str, kind: str, tmp_path: Path) -> None:
    keys = ("a", "b")
    with (
        Master() as master,
        MovablePool({SHARDS[0]: master.address}, tmp_path) as site,
        calling(kind, site.url, single_connection_client=True) as call,
    ):
        assert outcome(USES["a read"], call, call.mesh, keys) == 1
        master.say(BROKEN[how], times=1)
        came = outcome(USES["a read"], call, call.mesh, keys)
        assert isinstance(came, cachemesh.ShardUnavailableError)
        assert outcome(USES["a read"], call, call.mesh, keys) == 1


@both
@pytest.mark.parametrize("retry_writes", [False, True])
@pytest.mark.parametrize("how", BROKEN)
def test_what_may_have_run_is_sent_again_if_it_may(
    pool: Pool, how: str, retry_writes: bool, kind: str
) -> None:
    """Once more, in all ways to send it; a command that blocks never is."""
    with calling(kind, pool.site.url) as call, failing_cases() as check:
        view = call.mesh.with_options(retry_writes=retry_writes)
        for name, use in USES.items():
            call.driven.ping()  # there are connections
            pool.say(BROKEN[how], times=1)
            came = outcome(use, call, view, pool.keys())
            again = (use.reads or retry_writes) and use.sent != "BLPOP"
            check(
                name,
                f"{came} after {pool.ran(use.sent)}",
                isinstance(came, cachemesh.ShardUnavailableError) != again
                and set(pool.ran(use.sent)) == {1 + again},
            )


@both
def test_a_miss_is_counted_once(pool: Pool, kind: str) -> None:
    with calling(kind, pool.site.url, on_error="miss") as call, failing_cases() as check:
        for name, use in USES.items():
            if not use.misses or use.reads:
                continue
            before = sum(each.dropped for each in call.mesh.health().values())
            pool.say(HANG_UP, times=1)
            came = outcome(use, call, call.mesh, pool.keys())
            dropped = sum(each.dropped for each in call.mesh.health().values()) - before
            check(name, f"{came}, {dropped}", dropped == len(pool.ran(use.sent)))


@both
def test_a_bad_argument_is_known_before_anything_is_sent(pool: Pool, kind: str) -> None:
    key, other = pool.keys()
    bad: Any = object()
    uses: dict[str, Callable[[Any], Any]] = {
        "SET": lambda mesh: mesh.set(key, bad),
        "MSET": lambda mesh: mesh.mset({key: 1, other: bad}),
        "MSET, the other way": lambda mesh: mesh.mset({other: 1, key: bad}),
        "a pipeline": lambda m: m.pipeline(transaction=False).set(key, 1).set(other, bad).execute(),
        "a MULTI for each": lambda mesh: mesh.pipeline().set(key, 1).set(other, bad).execute(),
        "BLPOP": lambda mesh: mesh.blpop([key], timeout=bad),
        "CONFIG SET": lambda mesh: mesh.config_set("maxmemory", bad),
    }
    pool.say(HANG_UP)
    for options in ({}, {"on_error": "miss"}, {"retry_writes": True}):
        with calling(kind, pool.site.url, **options) as call:
            for name, use in uses.items():
                with pytest.raises(redis.DataError):
                    call(use)
                assert not pool.ran("SET") + pool.ran("MSET") + pool.ran("CONFIG"), name


@both
def test_without_a_time_limit_a_late_failure_is_tried_again_as_well(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is bounded is the time for trying again, not that before the first failure."""
    monkeypatch.setattr(retry, "_RETRY_SECONDS", 0.2)
    late = threading.Event()
    heard: Counter[bytes] = Counter()

    def answer(words: Words) -> bytes | None:
        if said := greeting(words):
            return said
        heard[words[0]] += 1
        if heard[words[0]] > 1:
            return b"$1\r\nv\r\n"
        late.wait(0.5)
        return HANG_UP

    with (
        Server(answer) as server,
        MovablePool({"cache-0": server.address}, tmp_path) as site,
        calling(kind, site.url, socket_timeout=None) as call,
    ):
        assert call.driven.get("k") == b"v"
        pipe = call.mesh.pipeline(transaction=False).hget("k", "f")
        assert call.drive(pipe).execute() == [b"v"]


@both
def test_any_reply_ends_a_row_of_failures(pool: Pool, kind: str) -> None:
    with calling(kind, pool.site.url) as call, failing_cases() as check:
        for name, use in USES.items():
            call.driven.ping()
            outcome(use, call, call.mesh, pool.keys())  # the connections that it takes are there
            asked = [call.mesh._core.shards()[shard].instance for shard in SHARDS]
            for instance in asked:
                for _ in range(2):
                    call.drive(instance).failed(Failure.NOT_READY)
            pool.say(None, times=0)
            outcome(use, call, call.mesh, pool.keys())
            left = [
                instance.breaker.failures
                for instance, master in zip(asked, pool.masters, strict=True)
                if master.ran[use.sent]
            ]
            check(name, left, set(left) == {0})
            call.driven.ping()


@both
@pytest.mark.parametrize("name", ["a read", "a write", "a blocking command"])
def test_three_failures_in_a_row_open_the_breaker(name: str, kind: str, tmp_path: Path) -> None:
    """Not two: a connection that is not made in time is one failure, whoever waits for it."""
    use = USES[name]
    with (
        silent() as trap,
        MovablePool({"cache-0": trap.address}, tmp_path) as site,
        calling(kind, site.url, command_timeout=0.2) as call,
    ):
        states: list[str] = []
        while len(states) < 6 and {*states} <= {"closed"}:
            came = outcome(use, call, call.mesh, ("k", "k"))
            assert isinstance(came, cachemesh.ShardUnavailableError)
            states.append(call.health().breaker)
        assert states[:2] == ["closed", "closed"]
        assert states[-1] in {"open", "half-open"}, "a probe may have begun already"


@both
@pytest.mark.parametrize("transaction", [False, None])
def test_a_value_that_cannot_be_decoded_harms_no_other_reply(
    site: MovablePool, transaction: bool | None, kind: str
) -> None:
    with calling(kind, site.url, decode_responses=True) as call:
        (binary, text), (other,) = site.keys("cache-0", 2), site.keys("cache-1")
        call.driven.mset({binary: b"\xff\xfe", text: "t", other: "o"})
        pipe = call.mesh.pipeline(transaction=transaction).get(text).get(binary).get(text)
        replies = call.drive(pipe.get(other).strlen(binary)).execute(raise_on_error=False)
        if transaction is False:
            assert isinstance(replies.pop(1), UnicodeDecodeError)
            assert replies == ["t", "t", "o", 2]
        else:
            assert replies[3] == "o"
        with pytest.raises(UnicodeDecodeError):
            call.drive(call.mesh.pipeline(transaction=transaction).get(binary)).execute()
        with pytest.raises(UnicodeDecodeError):
            call.driven.mget(text, binary)
        assert call.driven.mget(text, other) == ["t", "o"]
