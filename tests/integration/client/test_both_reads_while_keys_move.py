"""Clients of either kind read while keys move: each value is found, and none that is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh.core.migration.settled import SettledKeys
from cachemesh.local import LocalStack
from tests.support.both_clients import CLIENTS
from tests.support.moved_keys import KEYS, VALUES, Moved, filled


def test_a_read_of_a_key_that_somebody_else_has_moved_or_removed(moved: Moved) -> None:
    first, second, third, *_ = moved.keys
    moved.begin()
    with moved.server(moved.before, first) as source, moved.server(moved.after, first) as target:
        source.delete(first)
        target.set(first, "moved")
    with moved.server(moved.before, second) as source:
        source.delete(second)
    client = moved.call.driven
    assert client.get(first) == b"moved"
    assert client.get(second) is None
    assert client.strlen(third) == len(VALUES[third])
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.llen(third)
    assert moved.at(moved.before, third) == VALUES[third].decode()


def test_many_reads_at_once_share_a_connection(stack: LocalStack, tmp_path: Path) -> None:
    with filled("asyncio", stack, tmp_path) as moved:
        moved.begin()

        async def read_all(mesh: Any) -> list[Any]:
            return list(await asyncio.gather(*(mesh.get(key) for key in moved.keys * 20)))

        def connections() -> int:
            with moved.server(moved.before, moved.keys[0]) as source:
                return int(source.info("clients")["connected_clients"])

        moved.call.driven.get(moved.keys[0])
        before = connections()
        assert moved.call(read_all) == [VALUES[key] for key in moved.keys * 20]
        assert connections() == before


def test_a_key_that_the_source_has_got_back_is_read_at_the_target(moved: Moved) -> None:
    """As after a restart from a file: with a pull, too, what the target has stays."""
    key = moved.keys[0]
    moved.begin()
    client = moved.call.driven
    client.set(key, "new")
    with moved.server(moved.before, key) as source:
        source.set(key, "of long ago")
    moved.call.mesh._core._stage.settled = SettledKeys()
    assert client.get(key) == b"new"


def test_a_scan_misses_no_key(moved: Moved) -> None:
    moved.begin()
    client, left = moved.call.driven, list(moved.keys)
    cursor, seen = 0, list[bytes]()
    while True:
        cursor, keys = client.scan(cursor, count=3)
        seen += keys
        for key in left[:4]:  # keys move while it goes on
            assert client.get(key) == VALUES[key]
        del left[:4]
        if cursor == 0:
            break
    assert set(seen) == {key.encode() for key in KEYS}


def test_what_is_done_is_not_asked_for_at_the_source(moved: Moved) -> None:
    moved.begin()
    client = moved.call.driven
    assert client.mget(KEYS) == list(VALUES.values())
    key = moved.keys[0]
    moved.move(done=frozenset(moved.before.names))
    with moved.server(moved.before, key) as source:
        source.set(key, "written by somebody who is not told")
    assert client.get(key) == VALUES[key]


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("options", [{"socket_timeout": None}, {"decode_responses": True}])
def test_clients_with_other_options(
    kind: str, options: dict[str, Any], stack: LocalStack, tmp_path: Path
) -> None:
    with filled(kind, stack, tmp_path, **options) as moved:
        client = moved.call.driven
        moved.begin()
        expected = list(VALUES.values())
        if options.get("decode_responses"):
            assert client.mget(KEYS) == [value.decode() for value in expected]
        else:
            assert client.mget(KEYS) == expected
