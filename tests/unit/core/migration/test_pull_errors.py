"""The errors of a pull: no login and no value stands in them, whatever a server repeats."""

from __future__ import annotations

import pytest
import redis

from cachemesh.core.migration.pull import Link, NotReachedError, Pull, TargetRefusedError
from cachemesh.core.names import Address

SECRET = "s3cret"
LINK = Link(Address("10.0.0.2", 6379), 0, 0, 100, login=("mover", SECRET))
ARGS = f"with args beginning with: '10.0.0.2' 'AUTH2' 'mover' '{SECRET}' 'a value' "


@pytest.mark.parametrize("keys", [(b"a",), (b"a", b"b")])
def test_a_source_without_migrate_shows_no_login(keys: tuple[bytes, ...]) -> None:
    error = redis.ResponseError(f"unknown command 'MIGRATE', {ARGS}")
    with pytest.raises(redis.ResponseError, match="unknown command 'MIGRATE', with args") as caught:
        Pull(LINK, keys).answered([error, 0, 0])
    assert SECRET not in str(caught.value)


def test_a_target_without_restore_shows_no_value() -> None:
    error = redis.ResponseError(
        f"Target instance replied with error: ERR unknown command 'RESTORE', {ARGS}"
    )
    with pytest.raises(TargetRefusedError, match="unknown command 'RESTORE'") as caught:
        Pull(LINK, (b"a", b"b"), step="gone").answered([error, 0, 0], 0.0)
    assert SECRET not in str(caught.value)
    assert "a value" not in str(caught.value)


def test_a_target_that_is_not_reached_is_told_from_one_that_is_slow() -> None:
    error = redis.ResponseError("IOERR error or timeout connecting to the client")
    with pytest.raises(NotReachedError):
        Pull(LINK, (b"a",)).answered([error, 0, 0])
