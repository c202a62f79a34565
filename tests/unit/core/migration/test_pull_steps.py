"""The requests of a pull of many keys, one by one."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from cachemesh.core.migration.pull import Link, NoRoomError, Pull
from cachemesh.core.names import Address

LINK = Link(Address("10.0.0.2", 6379), 0, 0, 100)
KEYS = tuple(b"key:%d" % number for number in range(500))
BUSY = redis.ResponseError("Target instance replied with error: BUSYKEY Target key name exists")
NO_ROOM = redis.ResponseError("Target instance replied with error: OOM command not allowed")


def names(pull: Pull) -> list[Any]:
    """Return the names of the commands that a pull sends next."""
    return [command[0] for command in pull.ask().commands]


def following(pull: Pull, *replies: Any) -> Pull:
    """Return the pull after replies that do not end it."""
    after = pull.answered(replies, 0.0)
    assert isinstance(after, Pull)
    return after


def test_keys_of_which_the_target_has_some_are_never_copied_one_by_one() -> None:
    """Else a target that is silent just then would keep the source from serving, for each key."""
    asked = following(Pull(LINK, KEYS), BUSY)
    assert names(asked) == ["EXISTS", "PUBLISH", "WAIT"]
    each = following(asked, 499, 0, 0)
    assert names(each) == ["EXISTS"] * 500 + ["PUBLISH", "WAIT"]
    removed = following(each, 0, *[1] * 499, 0, 0)
    unlink, migrate, *_ = removed.ask().commands
    assert unlink == ("UNLINK", *KEYS[1:])
    assert migrate == LINK.migrate(KEYS[:1])
    gone = following(removed, 499, "NOKEY", 0, 0)
    assert names(gone) == ["MIGRATE", "PUBLISH", "WAIT"]
    assert gone.answered(["NOKEY", 0, 0]) is None


def test_what_refuses_a_key_shows_once_those_are_gone_that_the_target_has() -> None:
    each = following(following(Pull(LINK, KEYS[:2]), BUSY), 1, 0, 0)
    removed = following(each, 1, 0, 0, 0)
    with pytest.raises(NoRoomError, match="no room"):
        removed.answered([1, NO_ROOM, 0, 0], 0.0)
