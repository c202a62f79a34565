"""Which shards a command goes to, and how replies become one. No network."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.commands import FIRST_KEY, key_positions, normalize
from cachemesh.core.errors import CrossShardError, InvalidKeyError, UnsupportedCommandError
from cachemesh.core.hashing import key_bytes
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.plan import Plan, plan

FOUR = SlotsPlacement.even([Shard(f"cache-{i}") for i in range(4)])
ONE = SlotsPlacement.even([Shard("cache-0")])


def planned(*args: Any, placement: SlotsPlacement = FOUR) -> Plan:
    return plan(args, placement, key_bytes)


@pytest.mark.parametrize(
    ("args", "keys"),
    [
        (("GET", "a"), ["a"]),
        (("get", "a"), ["a"]),
        ((b"GET", "a"), ["a"]),
        (("MSET", "a", 1, "b", 2), ["a", "b"]),
        (("OBJECT ENCODING", "a"), ["a"]),
        (("OBJECT", "encoding", "a"), ["a"]),
        (("EVAL", "return 1", 2, "a", "b", "arg"), ["a", "b"]),
        (("EVAL", "return 1", 0, "arg"), []),
        (("EVAL", "return 1", 9, "a"), ["a"]),
        (("ZUNIONSTORE", "d", 2, "a", "b", "WEIGHTS", 1, 2), ["d", "a", "b"]),
        (("XREAD", "COUNT", 5, "STREAMS", "a", "b", "0", "0"), ["a", "b"]),
        (("XREADGROUP", "GROUP", "g", "c", "streams", "a", ">"), ["a"]),
        (("BLPOP", "a", "b", 0), ["a", "b"]),
        (("BITOP", "AND", "d", "a", "b"), ["d", "a", "b"]),
        (("SORT", "a", "BY", "w_*", "store", "d"), ["a", "d"]),
        (("GEORADIUS", "g", 1, 2, 3, "km", "STORE", "d"), ["g", "d"]),
        (("MIGRATE", "h", 1, "", 0, 9, "KEYS", "a", "b"), ["", "a", "b"]),
        (("LMPOP", 2, "a", "b", "LEFT"), ["a", "b"]),
        (("GET",), []),
        (("PING",), []),
    ],
)
def test_keys_of_a_command(args: tuple[Any, ...], keys: list[str]) -> None:
    command, words = normalize(args)
    assert sorted(str(words[at]) for at in key_positions(command, words)) == sorted(keys)


def test_the_fast_way_has_only_commands_with_one_key_first() -> None:
    assert FIRST_KEY["GET"] is True
    assert FIRST_KEY["SET"] is False
    assert FIRST_KEY["HGETALL"] is True
    for name in ("MGET", "DEL", "EVAL", "SORT", "XREAD", "OBJECT ENCODING", "BLPOP", "COPY"):
        assert name not in FIRST_KEY


@given(st.lists(st.text(), min_size=1), st.integers(1, 6))
def test_mget_comes_back_in_the_callers_order(keys: list[str], shards: int) -> None:
    placement = SlotsPlacement.even([Shard(f"cache-{i}") for i in range(shards)])
    plan_ = planned("MGET", *keys, placement=placement)
    replies = []
    for request in plan_.requests:
        assert request.args[0] == "MGET"
        assert all(placement.shard_for(key) == request.shard for key in request.args[1:])
        replies.append([f"value of {key}" for key in request.args[1:]])
    assert plan_.merge(replies) == [f"value of {key}" for key in keys]


@given(st.lists(st.tuples(st.text(), st.integers()), min_size=1))
def test_mset_keeps_pairs_together_and_their_order(pairs: list[tuple[str, int]]) -> None:
    plan_ = planned("MSET", *(word for pair in pairs for word in pair))
    sent: dict[str, list[tuple[str, int]]] = {}
    for request in plan_.requests:
        words = request.args[1:]
        sent[request.shard] = list(zip(words[::2], words[1::2], strict=True))
    for shard, got in sent.items():
        assert got == [pair for pair in pairs if FOUR.shard_for(pair[0]) == shard]
    assert plan_.merge([True] * len(sent)) is True


def test_counts_are_added_up() -> None:
    for name in ("DEL", "UNLINK", "EXISTS", "TOUCH"):
        plan_ = planned(name, *(f"k{i}" for i in range(40)))
        assert len(plan_.requests) == 4
        assert plan_.merge([1, 2, 3, 4]) == 10


def test_commands_without_keys() -> None:
    assert len(planned("DBSIZE").requests) == 4
    assert planned("DBSIZE").merge([1, 2, 3, 4]) == 10
    assert planned("KEYS", "*").merge([["a"], [], ["b"], []]) == ["a", "b"]
    assert planned("SCRIPT EXISTS", "x", "y").merge([[1, 1], [1, 0]]) == [1, 0]
    assert planned("RANDOMKEY").merge([None, "a", None, None]) == "a"
    assert planned("RANDOMKEY").merge([None] * 4) is None
    assert planned("WAIT", 1, 0).merge([2, 1, 3, 2]) == 1
    assert len(planned("TIME").requests) == 1
    assert planned("PUBLISH", "ch", "m").requests[0].shard == FOUR.shard_for("ch")
    for args in (("INFO",), ("CONFIG GET", "*"), ("SCAN", 0), ("CLIENT", "LIST")):
        with pytest.raises(UnsupportedCommandError, match="pool of 4 shards"):
            planned(*args)
        assert len(planned(*args, placement=ONE).requests) == 1


def test_keys_on_two_shards_name_both_and_the_way_out() -> None:
    with pytest.raises(CrossShardError, match=r"'a' is on cache-\d and 'b' on cache-\d.*hash tag"):
        planned("SINTER", "a", "b")
    with pytest.raises(CrossShardError, match="MSETNX"):
        planned("MSETNX", "a", 1, "b", 2)
    assert planned("SINTER", "{t}a", "{t}b").requests[0].shard == FOUR.shard_for("t")


def test_bad_commands_are_refused_before_anything_is_sent() -> None:
    for args in ((), (None,), (7,), ("",), ("NOSUCH", "a"), ("OBJECT", "NOSUCH", "a")):
        with pytest.raises(UnsupportedCommandError):
            planned(*args)
    with pytest.raises(InvalidKeyError):
        planned("MGET", "a", None)
    assert len(planned("GET").requests) == 1, "the server reports the missing argument"
