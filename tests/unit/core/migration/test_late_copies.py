"""Which connections of a target are ended where a copy may be under way, and when that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import redis

from cachemesh.core.migration.late_copies import may_bring_copies
from cachemesh.core.migration.pull import Cut, Link, NoRoomError, Pull, SlowTransferError
from cachemesh.core.names import Address

LINK = Link(Address("10.0.0.2", 6379), 0, 0, 100)
SILENT = redis.ResponseError("IOERR error or timeout reading to target instance")
BUSY = redis.ResponseError("Target instance replied with error: BUSYKEY Target key name exists")
NO_ROOM = redis.ResponseError("Target instance replied with error: OOM command not allowed")
REFUSED = redis.exceptions.NoPermissionError("NOPERM")
LOOK = ("CLIENT", "LIST", "TYPE", "normal")


def line(number: int, cmd: str = "restore", **fields: str) -> str:
    shown = {"name": "", "flags": "N", "resp": "2", "lib-name": "", **fields}
    names = " ".join(f"{name}={value}" for name, value in shown.items())
    return f"id={number} addr=10.0.0.1:1 cmd={cmd} user=default {names}"


@pytest.mark.parametrize("cmd", ["restore", "restore-asking", "select", "auth", "NULL"])
def test_what_a_source_may_have_sent_last(cmd: str) -> None:
    assert list(may_bring_copies(line(3, cmd).encode())) == [3]


def test_one_that_is_kept_waiting() -> None:
    assert list(may_bring_copies(line(3, flags="b").encode())) == [3]


@pytest.mark.parametrize(
    "other",
    [
        line(3, "get"),
        line(3, "client|list"),
        line(3, "replconf"),
        line(3, name="sentinel-0123-cmd"),
        line(3, name="cachemesh:0123456789ab"),
        line(3, name="cachemesh-term:17"),
        line(3, flags="S"),
        line(3, flags="M"),
        line(3, flags="x"),
        line(3, resp="3"),
        line(3, **{"lib-name": "redis-py"}),
        "id=3",
        "cmd=restore flags=N",
        "",
    ],
)
def test_connections_that_stay(other: str) -> None:
    assert list(may_bring_copies(f"txt:{line(1)}\n{other}\n{line(2)}\n".encode())) == [1, 2]


def cut_of(replies: Sequence[Any], keys: Sequence[bytes] = (b"a",), **fields: Any) -> Cut:
    seconds = fields.pop("seconds", 0.0)
    cut = Pull(LINK, tuple(keys), **fields).answered(replies, seconds)
    assert isinstance(cut, Cut)
    return cut


def asked(pull: Pull | Cut | None) -> tuple[Any, ...]:
    assert pull is not None
    return pull.ask().commands


def test_connections_are_ended_and_looked_for_once_more() -> None:
    cut = cut_of([SILENT])
    assert cut.ask().side == "target"
    assert asked(cut) == (LOOK,)
    again = cut.answered([f"{line(1)}\n{line(2, 'get')}\n{line(3)}\n".encode()])
    assert asked(again) == (("CLIENT", "KILL", "ID", 1), ("CLIENT", "KILL", "ID", 3), LOOK)
    assert again is not None
    last = again.answered([1, 0, line(4).encode()])
    assert asked(last) == (("CLIENT", "KILL", "ID", 4),)
    assert last is not None
    with pytest.raises(SlowTransferError):
        last.answered([1])


def test_where_there_is_none_a_second_look_tells() -> None:
    again = cut_of([SILENT]).answered([b""])
    assert asked(again) == (LOOK,)
    assert again is not None
    with pytest.raises(SlowTransferError):
        again.answered([b""])


def test_who_may_not_list_or_end_connections_goes_on() -> None:
    with pytest.raises(SlowTransferError):
        cut_of([SILENT]).answered([REFUSED])
    listed = cut_of([SILENT]).answered([line(1).encode()])
    assert listed is not None
    with pytest.raises(SlowTransferError):
        listed.answered([REFUSED, b""])


@pytest.mark.parametrize(
    ("fields", "replies"),
    [
        ({"step": "gone"}, [SILENT, 0, 0]),
        ({"step": "remove", "found": (b"a",)}, [1, SILENT, 0, 0]),
        ({"step": "remove", "found": (b"a",)}, [REFUSED, SILENT, REFUSED, REFUSED]),
    ],
)
def test_a_source_that_gave_up_at_any_step(fields: dict[str, Any], replies: Sequence[Any]) -> None:
    assert cut_of(replies, [b"a", b"b"], **fields)


def test_a_refusal_of_one_key_hides_that_another_took_too_long() -> None:
    several = Pull(LINK, (b"a", b"b"))
    quick = several.answered([BUSY], 0.05)
    assert asked(quick)[0] == ("EXISTS", b"a", b"b")
    cut = cut_of([BUSY], [b"a", b"b"], seconds=0.1)
    assert asked(cut.answered([b""])) == (LOOK,)
    listed = cut.answered([REFUSED])
    assert listed == quick
    with pytest.raises(NoRoomError):
        cut_of([NO_ROOM], [b"a", b"b"], seconds=0.1).answered([REFUSED])
    assert isinstance(Pull(LINK, (b"a",)).answered([BUSY], 0.1), Pull), "that of one hides nothing"


@pytest.mark.parametrize("reply", ["OK", "NOKEY", BUSY])
def test_what_an_earlier_pull_left_is_cut_off_after_the_first_request(reply: object) -> None:
    after = cut_of([reply], late=True).answered([REFUSED])
    assert after == Pull(LINK, (b"a",)).answered([reply])
    assert isinstance(after, Pull) and not after.late


def test_without_a_pull_nothing_follows() -> None:
    again = Cut().answered([line(1).encode()])
    assert asked(again) == (("CLIENT", "KILL", "ID", 1), LOOK)
    assert again is not None and again.answered([1, b""]) is None
    assert Cut().answered([REFUSED]) is None
