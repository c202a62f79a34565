"""A resize begins between two questions to servers about commands that the client does not know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.support.moved_keys import KEYS, VALUES, Moved
from tests.support.waiting import until


def begins_after_a_question(moved: Moved) -> list[Any]:
    """Have a resize be prepared after the first question; return where questions are noted."""
    mesh, asked = moved.call.mesh, list[Any]()
    answer = mesh._answer

    def prepare() -> None:
        moved._write(moved.migration)
        until(moved.keys_retired)

    def answered(question: Any, route_table: Any) -> Any:
        reply = answer(question, route_table)
        asked.append(question)
        if len(asked) == 1:
            prepare()
        return reply

    async def answered_async(question: Any, route_table: Any) -> Any:
        reply = await answer(question, route_table)
        asked.append(question)
        if len(asked) == 1:
            await asyncio.to_thread(prepare)
        return reply

    mesh._answer = answered if moved.call.loop is None else answered_async
    return asked


def spread(mesh: Any, key: str) -> Any:
    pipe = mesh.pipeline(False).get(key)
    return pipe.execute_command("NOSUCH.A", key).execute_command("NOSUCH.B", key)


def in_a_transaction(mesh: Any, key: str) -> Any:
    pipe = mesh.pipeline(True)
    pipe.multi()
    pipe.get(key)
    pipe.execute_command("NOSUCH.A", key)
    return pipe.execute_command("NOSUCH.B", key)


def test_a_pipeline_finds_the_shards_of_now(moved: Moved) -> None:
    stays = next(key for key in KEYS if key not in moved.keys)
    asked = begins_after_a_question(moved)
    got, *errors = moved.call(lambda mesh: spread(mesh, stays).execute(raise_on_error=False))
    assert got == VALUES[stays]
    assert len(errors) == 2
    assert all(isinstance(error, redis.ResponseError) for error in errors)
    assert len(asked) > 2


@pytest.mark.parametrize("queued", [spread, in_a_transaction])
def test_a_pipeline_raises_what_the_server_says(
    moved: Moved, queued: Callable[[Any, str], Any]
) -> None:
    stays = next(key for key in KEYS if key not in moved.keys)
    asked = begins_after_a_question(moved)
    with pytest.raises(redis.ResponseError):
        moved.call(lambda mesh: queued(mesh, stays).execute())
    assert len(asked) > 2
