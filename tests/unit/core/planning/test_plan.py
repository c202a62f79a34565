"""Which shards a command goes to, and how replies become one. No network."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.commands.registry import TABLE_REGISTRY
from cachemesh.core.commands.spec import FIRST_KEY, key_positions
from cachemesh.core.errors import CrossShardError, InvalidKeyError, UnsupportedCommandError
from cachemesh.core.migration.phase import Migration
from cachemesh.core.migration.routing import MigratingPlacement
from cachemesh.core.placement import KetamaPlacement, Shard, SlotsPlacement
from cachemesh.core.placement.keys import key_bytes
from cachemesh.core.planning.plan import UnknownCommandError, plan, shards_in_transaction
from cachemesh.core.planning.split import CommandPlan, encode_keys

FOUR = SlotsPlacement.even([Shard(f"cache-{i}") for i in range(4)])
ONE = SlotsPlacement.even([Shard("cache-0")])


def planned(*args: Any, placement: SlotsPlacement = FOUR) -> CommandPlan:
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
        (("SORT", "a", "BY", "STORE", "GET", "BY", "LIMIT", 0, "STORE"), ["a"]),
        (("SORT_RO", "a", "GET", "#"), ["a"]),
        (("MIGRATE", "h", 1, "", 0, 9, "KEYS", "a", "b"), ["a", "b"]),
        (("MIGRATE", "h", 1, "a", 0, 9), ["a"]),
        (("LOLWUT VERSION", 5), []),
        (("DEBUG", "OBJECT", "a"), ["a"]),
        (("DEBUG", "SLEEP", "0"), []),
        (("MSETEX", 2, "a", 1, "b", 2, "EX", 5), ["a", "b"]),
        (("JSON.MGET", "a", "b", "$"), ["a", "b"]),
        (("JSON.MSET", "a", "$", 1, "b", "$", 2), ["a", "b"]),
        (("TS.MADD", "a", 1, 2, "b", 1, 2), ["a", "b"]),
        (("CMS.MERGE", "d", 2, "a", "b", "WEIGHTS", 1, 2), ["a", "b", "d"]),
        (("FT.MGET", "index", "a", "b"), ["a", "b"]),
        (("LMPOP", 2, "a", "b", "LEFT"), ["a", "b"]),
        (("GET",), []),
        (("PING",), []),
    ],
)
def test_keys_of_a_command(args: tuple[Any, ...], keys: list[str]) -> None:
    command, words = TABLE_REGISTRY.look_up(args)
    assert command is not None
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
    for request in plan_.sub_requests:
        assert request.args[0] == "MGET"
        assert all(placement.shard_for(key) == request.shard for key in request.args[1:])
        replies.append([("value", key_bytes(key)) for key in request.args[1:]])
    assert plan_.merge(replies) == [("value", key.encode()) for key in keys]


@given(st.lists(st.tuples(st.text(), st.integers()), min_size=1))
def test_mset_keeps_pairs_together_and_their_order(pairs: list[tuple[str, int]]) -> None:
    plan_ = planned("MSET", *(word for pair in pairs for word in pair))
    sent: dict[str, list[tuple[str, int]]] = {}
    for request in plan_.sub_requests:
        words = request.args[1:]
        sent[request.shard] = list(zip(words[::2], words[1::2], strict=True))
    for shard, got in sent.items():
        assert got == [pair for pair in pairs if FOUR.shard_for(pair[0]) == shard]
    assert plan_.merge([True] * len(sent)) is True


def test_counts_are_added_up() -> None:
    for name in ("DEL", "UNLINK", "EXISTS", "TOUCH"):
        plan_ = planned(name, *(f"k{i}" for i in range(40)))
        assert len(plan_.sub_requests) == 4
        assert plan_.merge([1, 2, 3, 4]) == 10


def test_keys_on_two_shards_name_both_and_the_way_out() -> None:
    with pytest.raises(CrossShardError, match=r"'a' is on cache-\d and 'b' on cache-\d.*hash tag"):
        planned("SINTER", "a", "b")
    with pytest.raises(CrossShardError, match="MSETNX"):
        planned("MSETNX", "a", 1, "b", 2)
    assert planned("SINTER", "{t}a", "{t}b").sub_requests[0].shard == FOUR.shard_for("t")


def test_msetex_is_split_unless_it_is_all_or_nothing() -> None:
    plan_ = planned("MSETEX", 3, "a", 1, "b", 2, "c", 3, "EX", 60)
    sent: dict[str, int] = {}
    for request in plan_.sub_requests:
        name, count, *rest, ex, seconds = request.args
        assert (name, count, ex, seconds) == ("MSETEX", len(rest) // 2, "EX", 60)
        assert {FOUR.shard_for(key) for key in rest[::2]} == {request.shard}
        sent.update(zip(rest[::2], rest[1::2], strict=True))
    assert sent == {"a": 1, "b": 2, "c": 3}
    assert plan_.merge([1] * len(plan_.sub_requests)) == 1
    with pytest.raises(CrossShardError, match="MSETEX"):
        planned("MSETEX", 2, "a", 1, "b", 2, "NX")
    assert len(planned("MSETEX", 2, "{t}a", 1, "{t}b", 2, "NX").sub_requests) == 1


def test_arguments_before_and_after_the_keys_go_to_every_shard() -> None:
    keys = [f"k{i}" for i in range(20)]
    for request in planned("JSON.MGET", *keys, "$.x").sub_requests:
        assert request.args[-1] == "$.x"
    plan_ = planned("FT.MGET", "index", *keys)
    assert {request.args[1] for request in plan_.sub_requests} == {"index"}
    values = [[key.decode() for key in request.args[2:]] for request in plan_.sub_requests]
    assert plan_.merge(values) == keys


def test_ill_formed_calls_go_whole_to_one_server_which_says_so() -> None:
    for args in (
        ("MGET",),
        ("MSET",),
        ("MSET", "a", 1, "b"),
        ("JSON.MGET", "$"),
        ("GET",),
        ("DEL",),
    ):
        plan_ = planned(*args)
        assert [request.args for request in plan_.sub_requests] == [args]


def test_a_reply_with_too_few_items_is_noticed() -> None:
    plan_ = planned("MGET", *(f"k{i}" for i in range(20)))
    replies = [["v"] * (len(request.args) - 1) for request in plan_.sub_requests]
    replies[2].pop()
    with pytest.raises(redis.InvalidResponse, match="items for"):
        plan_.merge(replies)


@pytest.mark.parametrize(
    "args",
    [
        ("MSET", "a", 1, "b", 2, "c", 3, "d", 4),
        ("MGET", "a", "b", "c", "d"),
        ("DEL", "a", "b", "c", "d"),
        ("MSETEX", 4, "a", 1, "b", 2, "c", 3, "d", 4),
        ("DBSIZE",),
    ],
)
def test_an_error_among_the_replies_is_never_taken_for_a_success(args: tuple[Any, ...]) -> None:
    plan_ = planned(*args)
    replies: list[Any] = ["OK"] * len(plan_.sub_requests)
    replies[-1] = redis.exceptions.OutOfMemoryError("OOM")
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        plan_.merge(replies)


@given(st.lists(st.one_of(st.text("ab{}*", max_size=8), st.binary(max_size=8))), st.integers(1, 6))
def test_owners_of_many_keys_are_the_owners_of_each(keys: list[Any], shards: int) -> None:
    for placement in (
        SlotsPlacement.even([Shard(f"cache-{i}") for i in range(shards)]),
        KetamaPlacement([Shard(f"cache-{i}") for i in range(shards)], {"hash_tag": "{}"}, {}),
    ):
        raw = encode_keys(keys, key_bytes)
        assert raw == [key_bytes(key) for key in keys]
        assert placement.owners(raw) == [placement.shard_for(key) for key in keys]


def test_sort_looks_up_only_keys_of_the_same_shard() -> None:
    for args in (
        ("SORT", "a"),
        ("SORT", "a", "BY", "nosort", "GET", "#"),
        ("SORT", "{a}list", "BY", "{a}w_*", "GET", "{a}v_*->x", "STORE", "{a}sorted"),
        ("SORT_RO", "a", "LIMIT", 0, 5, "GET", "{a}*"),
    ):
        assert [request.args for request in planned(*args).sub_requests] == [args]
    refused: list[tuple[str, ...]] = [
        ("SORT", "a", "BY", "w_*"),
        ("SORT", "a", "GET", "{}*"),
        ("SORT", "a", "GET", "*{a}"),
        ("SORT", "a", "GET", "{b}*"),
    ]
    for call in refused:
        with pytest.raises(CrossShardError, match="hash tag"):
            planned(*call)
        assert len(planned(*call, placement=ONE).sub_requests) == 1
    untagged = KetamaPlacement(FOUR.shards, {}, {})
    with pytest.raises(CrossShardError, match="hash tag"):
        plan(("SORT", "a", "BY", "{a}*"), untagged)


def test_bad_commands_are_refused_before_anything_is_sent() -> None:
    for args in ((), (None,), (7,), ("",), (" ",)):
        with pytest.raises(UnsupportedCommandError, match="needs a name"):
            planned(*args)
    for call in (("NOSUCH", "a"), ("OBJECT", "NOSUCH", "a"), ("OBJECT",)):
        with pytest.raises(UnknownCommandError):
            planned(*call)
        assert planned(*call, placement=ONE).sub_requests[0].args == call
    with pytest.raises(InvalidKeyError):
        planned("MGET", "a", None)
    with pytest.raises(InvalidKeyError):
        planned("GET", None, placement=ONE)


def test_on_a_pool_of_one_shard_that_grows_a_server_is_asked_for_unknown_keys() -> None:
    migration = Migration("prepare", ONE.with_shards(FOUR.shards), moves=True)
    growing = MigratingPlacement(ONE, migration)
    for call in (("NOSUCH", "a"), ("OBJECT", "NOSUCH", "a")):
        with pytest.raises(UnknownCommandError):
            plan(call, growing)
        with pytest.raises(UnknownCommandError):
            shards_in_transaction(call, growing)


def test_within_a_transaction_keys_decide_and_the_rest_goes_along() -> None:
    def shards(*args: Any) -> tuple[str, ...]:
        return shards_in_transaction(args, FOUR)

    assert shards("WATCH", "{t}a", "{t}b") == (FOUR.shard_for("t"),)
    assert shards("GET", "a") == (FOUR.shard_for("a"),)
    assert len(shards("MGET", "a", "b", "c", "d")) > 1
    for args in (("UNWATCH",), ("MULTI",), ("PING",), ("TIME",), ("EVAL", "return 1", 0)):
        assert shards(*args) == ()
    assert shards("DBSIZE") == shards("SCAN", 0) == FOUR.names
    for refused in (("SELECT", 1), ("SUBSCRIBE", "a"), ("MONITOR",)):
        with pytest.raises(UnsupportedCommandError, match="refused"):
            shards(*refused)
    assert shards("SORT", "a", "GET", "#") == (FOUR.shard_for("a"),)
    with pytest.raises(CrossShardError, match="hash tag"):
        shards("SORT", "a", "GET", "*")
    with pytest.raises(UnknownCommandError):
        shards("NOSUCH")
    assert shards_in_transaction(("NOSUCH",), ONE) == ()
    assert shards_in_transaction(("SORT", "a", "GET", "*"), ONE) == ("cache-0",)
