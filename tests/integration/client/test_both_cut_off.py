"""What cannot have run is sent again where its connection is cut off, as by a fence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh.core.errors import FencedError, ShardUnavailableError
from cachemesh.core.fencing import MARKER
from cachemesh.core.names import parse_address
from cachemesh.local import LocalStack, Process
from tests.support.both_clients import CLIENTS, calling
from tests.support.metaserver_process import Api
from tests.support.movable_pool import reset
from tests.support.moved_pool import moving_stack
from tests.support.plain_redis import direct
from tests.support.relay import HangingUpRelay, LateRelay
from tests.support.resizable_pool import ResizablePool
from tests.support.waiting import AT_MOST, until

SETTINGS = "/v1/pools/cache/settings"
NEWS = b"41.25"  # in the document that a client is told late


def change(pipe: Any) -> None:
    pipe.multi()
    pipe.incr("key")


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("times", [1, 2])
def test_a_watch_that_is_cut_off_is_sent_again(
    kind: str, times: int, redises: list[Process], tmp_path: Path
) -> None:
    reset(redises[0])
    with (
        HangingUpRelay(str(redises[0].address), b"WATCH", times) as relay,
        ResizablePool(redises[:2], tmp_path) as pool,
    ):
        pool.masters["cache-0"] = parse_address(relay.address)
        with calling(kind, pool.url, socket_timeout=AT_MOST) as call:
            assert call(lambda mesh: mesh.transaction(change, "key")) == [1]
            assert relay.times == 0
            relay.times = 100
            with pytest.raises(ShardUnavailableError, match="closed"):
                call(lambda mesh: mesh.transaction(change, "key"))
            assert relay.times == 97


@pytest.mark.parametrize("kind", CLIENTS)
def test_what_watches_is_told_when_it_is_cut_off(
    kind: str, redises: list[Process], tmp_path: Path
) -> None:
    reset(redises[0])
    with (
        HangingUpRelay(str(redises[0].address), b"STRLEN", 1) as relay,
        ResizablePool(redises[:2], tmp_path) as pool,
    ):
        pool.masters["cache-0"] = parse_address(relay.address)
        with calling(kind, pool.url, socket_timeout=AT_MOST) as call:
            pipe = call.drive(call.mesh.pipeline())
            pipe.watch("key")
            with pytest.raises(redis.WatchError):
                pipe.strlen("key")


@pytest.fixture(scope="module")
def registered() -> Iterator[LocalStack]:
    with moving_stack(shards=1) as stack:
        yield stack


def fence(stack: LocalStack, version: int) -> None:
    """Have the shard refuse clients that act on an older version; 0: have it refuse none."""
    (shard,) = stack.info["shards"]
    with direct(shard["master"]) as master:
        master.set(MARKER, version) if version else master.delete(MARKER)


MADE: dict[str, Callable[[Any], Any]] = {
    "watched": lambda mesh: mesh.transaction(change, "key"),
    "not watched": lambda mesh: mesh.transaction(change),
    "a command on the client's own connection": lambda mesh: mesh.incr("key"),
}


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("made", MADE)
def test_what_a_fenced_client_sends_runs_once_the_client_knows_the_version(
    kind: str, made: str, registered: LocalStack
) -> None:
    metaserver = registered.info["metaservers"][0]
    api = Api(metaserver, registered.token)
    options = {"token": registered.token, "socket_timeout": AT_MOST}
    options["single_connection_client"] = made not in ("watched", "not watched")

    def make() -> Any:
        """Send it over a connection that is opened for it."""
        call(lambda mesh: mesh.connection_pool.disconnect())
        return call(MADE[made])

    with (
        LateRelay(metaserver, NEWS) as relay,
        calling(kind, f"cachemesh://{relay.address}/cache", **options) as call,
    ):
        call.driven.delete("key")
        until(lambda: call.mesh._core.membership.acting_version is not None)
        changed = api("PATCH", SETTINGS, {"settings": {"poll_interval": float(NEWS)}}).json
        assert relay.kept.wait(AT_MOST)  # what it was told: it has to ask
        try:
            fence(registered, changed["version_after"])
            assert make() in (1, [1])
            assert call.mesh.health().topology.version == changed["version_after"]
            fence(registered, changed["version_after"] + 1)
            with pytest.raises(FencedError, match="has to act on"):
                make()
        finally:
            fence(registered, 0)
            api("PATCH", SETTINGS, {"settings": {"poll_interval": None}})
        assert call.driven.get("key") == b"1"
