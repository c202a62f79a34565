"""A pipeline spread over shards, and its replies in the caller's order."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from redis.client import EMPTY_RESPONSE, NEVER_DECODE

from cachemesh.core.commands.registry import TABLE_REGISTRY
from cachemesh.core.errors import CrossShardError, ShardUnavailableError
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.planning.pipeline import NO_PLANS
from cachemesh.core.planning.pipeline_parts import Part, Parts, discarded, one_shard, spread
from cachemesh.core.planning.scan_cursor import no_master

PLACEMENT = SlotsPlacement.even([Shard("a"), Shard("b"), Shard("c")])
KEYS = [f"key:{number}" for number in range(9)]


def parts_of(stack: list[tuple[tuple[Any, ...], dict[str, Any]]], atomic: bool = False) -> Parts:
    return spread(stack, PLACEMENT, lambda c: repr(c).encode(), atomic, TABLE_REGISTRY, no_master)


def echoed(part: Part) -> list[Any]:
    """Reply to each command with its own words; a MULTI as Redis does."""
    commands = part.commands[1:-1] if part.atomic else part.commands
    replies: list[Any] = [[*args[1:]] if args[0] == "MGET" else args[1] for args in commands]
    return ["OK", *["QUEUED"] * len(commands), replies] if part.atomic else replies


@pytest.mark.parametrize("atomic", [False, True])
def test_replies_come_back_in_order(atomic: bool) -> None:
    stack: list[Any] = [(("GET", key), {}) for key in KEYS]
    stack[4:4] = [(("MGET", *KEYS), {}), (("ECHO", "x"), {})]
    made = parts_of(stack, atomic)
    assert {part.shard for part in made.parts} == {"a", "b", "c"}
    found = made.replies([echoed(part) for part in made.parts])
    assert found == [*KEYS[:4], [key.encode() for key in KEYS], "x", *KEYS[4:]]
    assert made.only_reads() is False
    assert [part.keyed(TABLE_REGISTRY) for part in made.parts].count(False) == 1, "ECHO has no key"


def test_only_first_keys() -> None:
    made = parts_of([(("GET", key), {}) for key in KEYS])
    assert made.only_reads()
    assert all(part.retriable and part.keyed(TABLE_REGISTRY) for part in made.parts)
    assert made.parts[0].payload() == repr(made.parts[0].commands).encode()
    assert made.replies([echoed(part) for part in made.parts]) == KEYS
    writes = parts_of([(("SET", key, 1), {}) for key in KEYS])
    assert not writes.only_reads()
    assert not writes.parts[0].retriable


def test_a_shard_that_gives_no_reply() -> None:
    made = parts_of([(("GET", key), {}) for key in KEYS])
    lost = ShardUnavailableError("gone")
    results = [lost if part.shard == "b" else echoed(part) for part in made.parts]
    found = made.replies(results)
    owners = [PLACEMENT.shard_for(key) for key in KEYS]
    assert [reply is lost for reply in found] == [owner == "b" for owner in owners]


def test_options_of_commands() -> None:
    stack: list[Any] = [(("GET", KEYS[0]), {NEVER_DECODE: True}), (("GET", KEYS[0]), {})]
    (part,) = parts_of(stack).parts
    assert part.decode == [False, True]
    (part,) = parts_of(stack, True).parts
    assert part.decode[-1] is False
    made = parts_of([(("GET", KEYS[0]), {EMPTY_RESPONSE: []}), (("GET", KEYS[0]), {})], True)
    unsent, sent = made.replies([echoed(part) for part in made.parts])
    assert isinstance(unsent, redis.ResponseError)
    assert sent == KEYS[0]


def test_what_was_refused_has_not_run() -> None:
    refusal, wrong = redis.ReadOnlyError("READONLY x"), redis.ResponseError("WRONGTYPE x")
    commands = [("GET", "k"), ("SET", "k", 1), ("GET", "k"), ("INCR", "k")]
    part = Part("a", commands, [True] * 4, lambda c: b"")
    assert part.undone([b"1", wrong, b"1", 2]) == ()
    assert part.undone([b"1", refusal, b"1", 2]) == [1, 2]
    assert part.only([1, 2]).commands == commands[1:3]
    multi = Part("a", [("MULTI",), *commands, ("EXEC",)], [True] * 6, lambda c: b"", atomic=True)
    assert list(multi.undone(["OK", refusal, refusal, refusal, refusal, wrong])) == list(range(6))
    assert multi.undone(["OK", *["QUEUED"] * 4, [1, 2, 3, 4]]) == ()


def test_a_multi_that_was_discarded() -> None:
    lost = ShardUnavailableError("gone")
    assert discarded(lost) is lost
    assert discarded(["OK", "QUEUED", [1]]) is None
    lacking = redis.ResponseError("NOREPLICAS Not enough good replicas to write.")
    assert discarded(["OK", lacking, redis.ResponseError("EXECABORT x")]) is lacking
    assert discarded(["OK", redis.ResponseError("ERR x"), redis.ResponseError("EXECABORT")]) is None
    made = parts_of([(("SET", KEYS[0], 1), {})], True)
    aborted = redis.ResponseError("EXECABORT x")
    assert made.replies([["OK", "QUEUED", aborted]]) == [aborted]


def test_one_shard() -> None:
    first, other = (
        KEYS[0],
        next(key for key in KEYS if PLACEMENT.shard_for(key) != PLACEMENT.shard_for(KEYS[0])),
    )
    home = PLACEMENT.shard_for(first)
    assert one_shard([("GET", first)], PLACEMENT, None, TABLE_REGISTRY, NO_PLANS) == home
    assert one_shard([], PLACEMENT, home, TABLE_REGISTRY, NO_PLANS) == home
    assert one_shard([], PLACEMENT, None, TABLE_REGISTRY, NO_PLANS) == "a"
    with pytest.raises(CrossShardError, match="one hash tag"):
        one_shard([("GET", first), ("GET", other)], PLACEMENT, None, TABLE_REGISTRY, NO_PLANS)
