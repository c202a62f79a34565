"""Servers that repeat a password do not make it part of an error."""

from __future__ import annotations

import traceback

import pytest
import redis

from cachemesh.core.hidden_secrets import hide


def test_an_error_and_what_it_came_from() -> None:
    with pytest.raises(redis.ConnectionError) as caught:
        try:
            raise redis.ResponseError("no AUTH app hunter2", 7)
        except redis.ResponseError as error:
            raise redis.ConnectionError("refused: hunter2") from error
    hide(caught.value, None, "", b"hunter2")
    text = "".join(traceback.format_exception(caught.value))
    assert str(caught.value) == "refused: ***"
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__.args == ("no AUTH app ***", 7)
    assert "***" in text.partition("def test")[0]


def test_arguments_of_an_unknown_command_without_knowing_the_secret() -> None:
    error = redis.ResponseError("unknown command `HELLO`, with args beginning with: `3`, `hunter2`")
    hide(error)
    assert str(error) == "unknown command `HELLO`, with args ***"


def test_errors_that_came_from_one_another() -> None:
    first, second = redis.RedisError("hunter2"), redis.RedisError("x")
    first.__cause__, second.__cause__ = second, first
    hide(first, "hunter2")
    assert str(first) == "***"
