"""Miss replies pass redis-py's response callbacks and mean "nothing"."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.commands.spec import COMMANDS, FIRST_KEY, Command
from cachemesh.core.planning.miss_replies import NO_MISS_REPLY, miss_reply

KEYED = sorted(name for name, command in COMMANDS.items() if command.specs)
KEYLESS = sorted(name for name, command in COMMANDS.items() if not command.specs)
NOT_ANSWERED = {
    *("WATCH", "SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE", "MIGRATE", "PFDEBUG", "DEBUG OBJECT"),
    *("XINFO STREAM", "BF.INFO", "CF.INFO", "CMS.INFO", "TDIGEST.INFO", "TOPK.INFO", "TS.INFO"),
    *("TDIGEST.MIN", "TDIGEST.MAX", "TDIGEST.TRIMMED_MEAN"),
}
MODULES = ("json", "bf", "cf", "cms", "topk", "tdigest", "ts", "vset")
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "XCLAIM": [{"parse_justid": True}, {}],
    "XAUTOCLAIM": [{"parse_justid": True}, {}],
    "SORT": [{"groups": 2}, {}],
    "SET": [{"get": True}, {}],
    "ZADD": [{"as_score": True}, {}],
    "HSCAN": [{"no_values": True}, {}],
}
"""Options that redis-py's own methods pass to the callbacks of these commands."""
SCORES = {"withscores": True, "withscore": True, "withvalues": True, "score_cast_func": float}
PLACES = {"store": None, "store_dist": None}
WITH = {"withdist": True, "withcoord": True, "withhash": True}
LEGACY = "legacy_responses" in inspect.signature(redis.Redis).parameters


def callbacks() -> Iterator[tuple[bool, Any]]:
    """Yield, for each way to set up redis-py, whether it uses RESP3 and its callbacks."""
    for protocol, legacy in itertools.product((2, 3, None), (True, False) if LEGACY else (True,)):
        options: dict[str, Any] = {"legacy_responses": legacy} if LEGACY else {}
        if protocol is not None:
            options["protocol"] = protocol
        client: Any = redis.Redis(**options)
        for module in MODULES:
            if hasattr(client, module):
                getattr(client, module)()
        yield (
            client.connection_pool.make_connection().protocol in (3, "3"),
            (client.response_callbacks),
        )


CALLBACKS = list(callbacks())


def says_nothing(answer: Any) -> bool:
    if isinstance(answer, (list, tuple)):
        return all(map(says_nothing, answer))
    if isinstance(answer, dict):
        return all(map(says_nothing, answer.values()))
    return not answer or answer in (-2, -1, "none", b"none", "0-0", b"0-0", b"matches", b"len")


def option_sets(args: tuple[Any, ...]) -> list[dict[str, Any]]:
    name = args[0]
    if name in ("GEORADIUS", "GEORADIUSBYMEMBER", "GEOSEARCH"):
        return [{}, {**PLACES, **WITH}, {**PLACES, **dict.fromkeys(WITH, False)}]
    if name in ("ZINCRBY", "ZSCORE"):
        return [{}]
    if name == "XPENDING":
        return [{"parse_detail": len(args) > 3}]
    return [*OPTIONS.get(name, [{}]), *([SCORES] if name.startswith("Z") else [])]


def calls(command: Command) -> list[tuple[Any, ...]]:
    words = command.name.split(" ")
    return [
        (*words, "key"),
        (*words, "key", "1", "2", "3", "4"),
        (*words, b"key", b"field", 7, b"FIELDS", b"2", b"a", b"b"),
    ]


@pytest.mark.parametrize("name", KEYED)
def test_every_miss_goes_through_the_callbacks_and_says_nothing(name: str) -> None:
    for (resp3, table), args in itertools.product(CALLBACKS, calls(COMMANDS[name])):
        if name in NOT_ANSWERED:
            assert miss_reply(args, resp3) is NO_MISS_REPLY
            continue
        callback = table.get(name)
        for options in option_sets(args) if callback else [{}]:
            reply = miss_reply(args, resp3)
            answer = callback(reply, **options) if callback else reply
            assert says_nothing(answer), (args, options, resp3, answer)


def test_the_fast_way_has_many() -> None:
    answered = [name for name in FIRST_KEY if miss_reply((name, "key")) is not NO_MISS_REPLY]
    assert len(answered) > 200
    assert set(FIRST_KEY) - set(answered) <= NOT_ANSWERED


@pytest.mark.parametrize("name", KEYLESS)
def test_without_a_key_there_is_no_miss(name: str) -> None:
    assert miss_reply((name,)) is NO_MISS_REPLY
    assert miss_reply(tuple(name.split(" "))) is NO_MISS_REPLY


@pytest.mark.parametrize(
    ("args", "reply"),
    [
        (("MGET", "a", "b", "c"), [None] * 3),
        (("HMGET", "k", "a", "b"), [None] * 2),
        (("SMISMEMBER", "k", "a", "b"), [0, 0]),
        (("SPOP", "k"), None),
        (("SPOP", "k", 2), []),
        (("SRANDMEMBER", "k", -2), []),
        (("ZADD", "k", "NX", "CH", 1, "INCR"), 0),
        (("ZADD", "k", b"xx", b"incr", 1, "m"), None),
        (("SORT", "k"), []),
        (("SORT", "k", "BY", "nosort", "STORE", "to"), 0),
        (("GEORADIUS", "k", 1, 1, 1, "m"), []),
        (("GEORADIUS", "k", 1, 1, 1, "m", "STOREDIST", "to"), 0),
        (("GEORADIUSBYMEMBER", "k", "store", 1, "m"), []),
        (("GEORADIUSBYMEMBER", "k", "m", 1, "m", "store", "to"), 0),
        (("BITFIELD", "k", "GET", "u8", 0, "OVERFLOW", "SAT", "INCRBY", "u8", 0, 1), [0, None]),
        (("HEXPIRE", "k", 10, "NX", "FIELDS", 2, "a", "b"), [-2, -2]),
        (("HPERSIST", "k", b"fields", b"1", "a"), [-2]),
        (("HEXPIRE", "k", 10, "FIELDS", "many"), []),
        (("HEXPIRE", "k", 10, "FIELDS"), []),
        (("HEXPIRE", "k", 10), []),
        (("HGETEX", "k", "EX", 3, "FIELDS", "2", "a", "b"), [None, None]),
        (("XDELEX", "k", "IDS", 2, "1-1", "2-1"), [-1, -1]),
        (("XPENDING", "k", "g"), [0, None, None, None]),
        (("XPENDING", "k", "g", "-", "+", 10), []),
        (("XAUTOCLAIM", "k", "g", "c", 1, "0-0"), [b"0-0", [], []]),
        (("LPOS", "k", "COUNT"), None),
        (("LPOS", "k", "x", "COUNT", 0), []),
        (("LCS", "a", "b"), b""),
        (("LCS", "a", "b", "LEN"), 0),
        (("LCS", "a", "b", "IDX"), [b"matches", [], b"len", 0]),
        (("BF.INSERT", "k", "NOCREATE", "ITEMS", "a", "b"), [0, 0]),
        (("TS.MADD", "a", 1, 2, "b", 1, 2), [None, None]),
        (("SET", "k", "v"), None),
        (("INCR", "k"), None),
        (("BLPOP", "k", 1), None),
        (("EVAL", "return 1", 1, "k"), None),
        (("OBJECT ENCODING", "k"), None),
        (("OBJECT", "ENCODING", "k"), None),
        ((b"exists", "k"), 0),
        (("MY.COMMAND", "k"), None),
    ],
)
def test_what_depends_on_the_arguments(args: tuple[Any, ...], reply: Any) -> None:
    assert miss_reply(args) == reply


def test_what_depends_on_the_connection() -> None:
    assert miss_reply(("HGETALL", "k")) == []
    assert miss_reply(("HGETALL", "k"), resp3=True) == {}
    assert miss_reply(("SMEMBERS", "k"), resp3=True) == []
    assert miss_reply(("TYPE", "k")) == b"none"
    assert miss_reply(("TYPE", "k"), text=True) == "none"
    assert miss_reply(("HSCAN", "k", 0), text=True) == ["0", []]
    assert miss_reply(("LCS", "a", "b", "IDX"), resp3=True, text=True) == {"matches": [], "len": 0}


def test_each_answer_is_a_new_one() -> None:
    """Callbacks, such as XAUTOCLAIM's, write into the reply that they get."""
    makers: list[Callable[[], Any]] = [
        lambda: miss_reply(("XAUTOCLAIM", "k", "g", "c", 1, "0-0")),
        lambda: miss_reply(("LRANGE", "k", 0, -1)),
        lambda: miss_reply(("MGET", "a", "b")),
    ]
    for make in makers:
        make().append(1)
        assert 1 not in make()


@given(
    st.sampled_from(KEYED),
    st.lists(st.one_of(st.binary(max_size=6), st.text(max_size=6), st.integers())),
    st.booleans(),
    st.booleans(),
)
def test_no_arguments_make_it_fail(name: str, rest: list[Any], resp3: bool, text: bool) -> None:
    miss_reply((*name.split(" "), *rest), resp3, text)
