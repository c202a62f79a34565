"""Open breakers of either kind of client: while a probe is under way, after it, and once closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import cachemesh
from cachemesh.core.resilience.error_classification import BreakerOpenError
from tests.support.both_clients import CLIENTS, Caller, calling
from tests.support.rogue_server import HANG_UP, Words
from tests.support.waiting import AT_MOST, until
from tests.support.ways_to_send import USES, Master, Pool, outcome, pool_of

OPEN, SILENT, SHUT = "open", "silent", "shut"


class Door(Master):
    """A master that lets in, says nothing to who comes, or shows them the door."""

    door = OPEN

    def _say(self, words: Words) -> bytes | None:
        if self.door != OPEN:
            return None if self.door == SILENT else HANG_UP
        if words[0] == b"SUBSCRIBE":
            return b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
        return super()._say(words)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with pool_of(Door(), Door(), tmp_path) as made:
        yield made


def turn(pool: Pool, door: str) -> None:
    """How the masters receive who comes from now on; who was there is shown the door."""
    for master in pool.masters:
        master.door = door  # type: ignore[attr-defined]
        master.hang_up()


def states(call: Caller) -> set[str]:
    return {health.breaker for health in call.mesh.health().values()}


def ways(call: Caller, pool: Pool, mesh: Any) -> dict[str, Callable[[], Any]]:
    """All that an app may do, on connections of whatever kind."""

    def using(use: Any) -> Callable[[], Any]:
        return lambda: outcome(use, call, mesh, pool.keys())

    def holding(make: str, method: str, *args: Any) -> Callable[[], Any]:
        def hold() -> Any:
            it = call.drive(getattr(mesh, make)())
            try:
                return getattr(it, method)(*args)
            except redis.RedisError as error:
                return error
            finally:
                it.close() if make == "pubsub" else it.reset()

        return hold

    return {
        **{name: using(use) for name, use in USES.items()},
        "WATCH": holding("pipeline", "watch", pool.keys()[0]),
        "SUBSCRIBE": holding("pubsub", "subscribe", "c"),
    }


def failed_at_once(came: Any) -> bool:
    return isinstance(came, cachemesh.ShardUnavailableError) and isinstance(
        came.__cause__, BreakerOpenError
    )


def fail_at_once(call: Caller, pool: Pool) -> None:
    """Every way to send does, and nobody is asked."""
    pool.say(None, times=0)
    slow = {name for name, use in ways(call, pool, call.mesh).items() if not failed_at_once(use())}
    assert slow == set()
    misses = call.mesh.with_options(on_error="miss")
    for name, use in USES.items():
        if use.sent != "BLPOP":  # it takes as long as it would block
            came = outcome(use, call, misses, pool.keys())
            assert failed_at_once(came) if not use.misses else not isinstance(came, Exception), name
    assert not any(pool.ran(use.sent) for use in USES.values())


@pytest.mark.parametrize("kind", CLIENTS)
def test_nobody_waits_for_a_probe_and_all_go_on_after_it(pool: Pool, kind: str) -> None:
    patient = {"connect_timeout": AT_MOST, "command_timeout": AT_MOST}
    with calling(kind, pool.site.url, **patient) as call:
        for name, use in ways(call, pool, call.mesh).items():
            assert not isinstance(use(), Exception), name
        turn(pool, SHUT)
        key, other = pool.keys()
        until(lambda: failed_at_once(call.timed(lambda mesh: mesh.strlen(key))[0]))
        until(lambda: failed_at_once(call.timed(lambda mesh: mesh.strlen(other))[0]))
        turn(pool, SILENT)
        until(lambda: states(call) == {"half-open"})  # each probe waits for an answer from now on
        fail_at_once(call, pool)
        assert states(call) == {"half-open"}

        turn(pool, SHUT)  # those fail, and others after them
        until(lambda: "open" in states(call))
        fail_at_once(call, pool)
        assert "closed" not in states(call)

        turn(pool, OPEN)
        until(lambda: states(call) == {"closed"})
        for name, use in ways(call, pool, call.mesh).items():
            assert not isinstance(use(), Exception), name
