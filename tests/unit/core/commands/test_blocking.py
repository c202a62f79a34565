"""Which commands block on the server, and for how long."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cachemesh.core.commands.blocking import BLOCKING, block_seconds
from cachemesh.core.commands.spec import FIRST_KEY
from cachemesh.core.commands.table import TABLE


@pytest.mark.parametrize(
    ("args", "seconds"),
    [
        (("GET", "a"), None),
        (("BLPOP", "a", 0), math.inf),
        (("BLPOP", "a", "b", 2.5), 2.5),
        (("BLMOVE", "a", "b", "LEFT", "RIGHT", b"3"), 3.0),
        (("BLMOVEM", "a", "b", "LEFT", "RIGHT", 2, "COUNT", 9, "BULK"), 2.0),
        (("TS.READ", "a", "BLOCK", 250, 1), 0.25),
        (("TS.READ", "a"), None),
        (("BLMPOP", 1.5, 1, "a", "LEFT"), 1.5),
        (("WAIT", 1, 500), 0.5),
        (("XREAD", "STREAMS", "a", "0"), None),
        (("XREAD", b"BLOCK", 1500, b"STREAMS", "block", "0"), 1.5),
        (("XREAD", "block", 0, "streams", "a", "0"), math.inf),
        (("XREAD", "STREAMS", "block", "0"), None),
        (("BLPOP", "a", "nonsense"), math.inf),
        (("BLMPOP",), math.inf),
    ],
)
def test_block_seconds(args: tuple[Any, ...], seconds: float | None) -> None:
    assert block_seconds(str(args[0]), args) == seconds


def test_every_command_that_redis_calls_blocking_is_known() -> None:
    blocking = {name for name, row in TABLE.items() if "b" in row[0]}
    assert blocking <= BLOCKING
    assert not blocking & FIRST_KEY.keys(), "they do not take the fast way"
