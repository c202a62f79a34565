"""Every error that an app may have to catch can be imported from the package itself."""

from __future__ import annotations

import inspect

import pytest
import redis

import cachemesh
from cachemesh.core import errors

ERRORS = {
    name: found
    for name, found in vars(errors).items()
    if inspect.isclass(found) and found.__module__ == errors.__name__
}


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_an_error_is_exported(name: str) -> None:
    assert getattr(cachemesh, name) is ERRORS[name]
    assert name in cachemesh.__all__
    assert issubclass(ERRORS[name], cachemesh.CacheMeshError)


def test_a_cursor_from_elsewhere_is_caught_as_redis_py_has_it() -> None:
    assert issubclass(cachemesh.InvalidCursorError, redis.ResponseError)
