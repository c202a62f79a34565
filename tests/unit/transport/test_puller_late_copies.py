"""What a puller does about copies that may arrive late, whatever becomes of its requests."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
import redis

from cachemesh.core.errors import ShardTimeoutError
from cachemesh.core.migration.pull import Link
from cachemesh.core.names import Address
from cachemesh.transport.sync.puller import Puller

KEY = b"key"
LINK = Link(Address("10.0.0.2", 6379), 0, 0, 100)
SILENT = redis.ResponseError("IOERR error or timeout reading to target instance")
LATE = b"id=7 name= flags=N cmd=restore"
BROKEN = redis.ConnectionError("Connection closed by server")


class Shard:
    """A shard that answers as it is told to.

    Args:
        name: of the shard.
        log: gets the name of the shard and those of the commands.
        special: what becomes of requests, one after another: "lost" in an attempt that was made
            again, an error that is raised, or the reply to their first command.
    """

    def __init__(self, name: str, log: list[str], *special: Any) -> None:
        self.name, self._log, self._special = name, log, list(special)
        self.deadlines: list[float] = []

    @property
    def latest(self) -> Shard:
        return self

    def require_serving(self) -> None:
        pass

    def ask_all(self, commands: Sequence[tuple[Any, ...]], deadline: float) -> list[Any]:
        return ["PONG"] * len(commands)

    def ask_apart(
        self, commands: Sequence[tuple[Any, ...]], deadline: float, lost: list[Exception]
    ) -> list[Any]:
        told = [
            " ".join(map(str, each[:2])) if each[0] == "CLIENT" else each[0] for each in commands
        ]
        self._log.append(f"{self.name}: {', '.join(told)}")
        self.deadlines.append(deadline)
        replies = [_usual(each) for each in told]
        special = self._special.pop(0) if self._special else None
        if special == "lost":
            lost.append(BROKEN)
        elif isinstance(special, BaseException) and special is not SILENT:
            raise special
        elif special is not None:
            replies[0] = special
        return replies


def _usual(command: str) -> Any:
    return {"MIGRATE": "OK", "EXISTS": 1, "UNLINK": 1, "CLIENT LIST": b""}.get(command, 0)


def pulling(source: Sequence[Any] = (), target: Sequence[Any] = ()) -> tuple[Any, list[str], Any]:
    log: list[str] = []
    losing: Any = Shard("S", log, *source)
    gaining: Any = Shard("T", log, *target)
    return Puller(losing, gaining, lambda _: LINK), log, gaining


COPY = "S: MIGRATE"
CUT = ["T: CLIENT LIST", "T: CLIENT LIST"]
REST = ["T: EXISTS, PUBLISH, WAIT", "S: UNLINK, PUBLISH, WAIT"]


def soon() -> float:
    return time.monotonic() + 60


def test_where_nothing_is_late_nothing_is_cut_off() -> None:
    puller, log, _ = pulling()
    puller.pull({KEY}, soon())
    assert log == [COPY, *REST]


def test_what_is_late_is_cut_off_before_the_next_attempt() -> None:
    puller, log, _ = pulling([SILENT], [LATE])
    puller.pull({KEY}, soon())
    assert log == [COPY, "T: CLIENT LIST", "T: CLIENT KILL, CLIENT LIST", COPY, *REST]


def test_what_is_late_is_cut_off_after_the_deadline_as_well() -> None:
    puller, log, target = pulling([SILENT])
    now = time.monotonic()
    with pytest.raises(ShardTimeoutError):
        puller.pull({KEY}, now)
    assert log == [COPY, *CUT]
    assert min(target.deadlines) > now


def test_an_answer_that_was_lost_in_between_may_have_told_of_a_late_copy() -> None:
    puller, log, _ = pulling(["lost"])
    puller.pull({KEY}, soon())
    assert log == [COPY, *CUT, *REST]


@pytest.mark.parametrize("error", [ShardTimeoutError("late"), KeyboardInterrupt()])
def test_so_does_one_that_nobody_waited_for(error: BaseException) -> None:
    puller, log, _ = pulling([error])
    for _ in range(3):
        try:
            puller.pull({KEY}, soon())
        except type(error):
            pass
    assert log == [COPY, COPY, *CUT, *REST, COPY, *REST]


def test_a_cut_that_failed_is_made_with_the_next_pull() -> None:
    puller, log, _ = pulling([SILENT], [ShardTimeoutError("late")])
    with pytest.raises(ShardTimeoutError):
        puller.pull({KEY}, soon())
    puller.pull({KEY}, soon())
    assert log == [COPY, CUT[0], COPY, *CUT, *REST]
