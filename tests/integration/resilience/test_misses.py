"""A miss is what a real server answers for keys that do not exist, seen through redis-py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from cachemesh.core.planning.miss_replies import miss_reply
from cachemesh.local import LocalStack
from tests.support.server_capabilities import needs_command

READS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    # generic
    ("exists", ("k",), {}),
    ("touch", ("k",), {}),
    ("type", ("k",), {}),
    ("ttl", ("k",), {}),
    ("pttl", ("k",), {}),
    ("expiretime", ("k",), {}),
    ("pexpiretime", ("k",), {}),
    ("dump", ("k",), {}),
    ("memory_usage", ("k",), {}),
    ("sort", ("k",), {}),
    ("sort", ("k",), {"get": ["#", "x_*"], "groups": True}),
    ("sort_ro", ("k",), {}),
    # strings and bits
    ("get", ("k",), {}),
    ("mget", (["a", "b", "c"],), {}),
    ("getrange", ("k", 0, -1), {}),
    ("substr", ("k", 0, -1), {}),
    ("strlen", ("k",), {}),
    ("getbit", ("k", 7), {}),
    ("bitcount", ("k",), {}),
    ("bitpos", ("k", 0), {}),
    ("bitpos", ("k", 1), {}),
    ("bitfield_ro", ("k", "u8", 0), {"items": [("i5", 3)]}),
    ("lcs", ("{t}a", "{t}b"), {}),
    ("lcs", ("{t}a", "{t}b"), {"len": True}),
    ("lcs", ("{t}a", "{t}b"), {"idx": True, "withmatchlen": True}),
    ("pfcount", ("k",), {}),
    # hashes
    ("hget", ("k", "f"), {}),
    ("hmget", ("k", ["f", "g"]), {}),
    ("hgetall", ("k",), {}),
    ("hkeys", ("k",), {}),
    ("hvals", ("k",), {}),
    ("hlen", ("k",), {}),
    ("hstrlen", ("k", "f"), {}),
    ("hexists", ("k", "f"), {}),
    ("hscan", ("k",), {}),
    ("hrandfield", ("k",), {}),
    ("hrandfield", ("k", 3), {"withvalues": True}),
    # lists
    ("llen", ("k",), {}),
    ("lrange", ("k", 0, -1), {}),
    ("lindex", ("k", 0), {}),
    ("lpos", ("k", "x"), {}),
    ("lpos", ("k", "COUNT"), {"count": 2}),
    # sets
    ("scard", ("k",), {}),
    ("smembers", ("k",), {}),
    ("sismember", ("k", "x"), {}),
    ("smismember", ("k", ["x", "y"]), {}),
    ("srandmember", ("k",), {}),
    ("srandmember", ("k", 3), {}),
    ("sscan", ("k",), {}),
    ("sdiff", ("a", "b"), {}),
    ("sinter", ("a", "b"), {}),
    ("sunion", ("a", "b"), {}),
    ("sintercard", (2, ["a", "b"]), {}),
    # sorted sets
    ("zcard", ("k",), {}),
    ("zcount", ("k", 0, 9), {}),
    ("zlexcount", ("k", "-", "+"), {}),
    ("zscore", ("k", "m"), {}),
    ("zmscore", ("k", ["m", "n"]), {}),
    ("zrank", ("k", "m"), {}),
    ("zrevrank", ("k", "m"), {}),
    ("zrange", ("k", 0, -1), {"withscores": True}),
    ("zrange", ("k", "-", "+"), {"bylex": True}),
    ("zrevrange", ("k", 0, -1), {"withscores": True}),
    ("zrangebyscore", ("k", 0, 9), {"withscores": True}),
    ("zrevrangebyscore", ("k", 9, 0), {}),
    ("zrangebylex", ("k", "-", "+"), {}),
    ("zrevrangebylex", ("k", "+", "-"), {}),
    ("zrandmember", ("k",), {}),
    ("zrandmember", ("k", 3), {"withscores": True}),
    ("zscan", ("k",), {}),
    ("zdiff", (["a", "b"],), {"withscores": True}),
    ("zinter", (["a", "b"],), {"withscores": True}),
    ("zunion", (["a", "b"],), {}),
    ("zintercard", (2, ["a", "b"]), {}),
    # places
    ("geodist", ("k", "a", "b"), {}),
    ("geohash", ("k", "a", "b"), {}),
    ("geopos", ("k", "a", "b"), {}),
    ("georadius", ("k", 1, 1, 9), {"withdist": True}),
    ("geosearch", ("k",), {"longitude": 1, "latitude": 1, "radius": 9, "withcoord": True}),
    # streams
    ("xlen", ("k",), {}),
    ("xrange", ("k",), {}),
    ("xrevrange", ("k",), {}),
    ("xread", ({"k": "0"},), {}),
]
WRITES_THAT_FIND_NOTHING: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("delete", ("k",), {}),
    ("unlink", ("k",), {}),
    ("expire", ("k", 9), {}),
    ("pexpireat", ("k", 9), {}),
    ("persist", ("k",), {}),
    ("copy", ("a", "b"), {}),
    ("set", ("k", "v"), {"xx": True}),
    ("set", ("k", "v"), {"xx": True, "get": True}),
    ("getdel", ("k",), {}),
    ("getex", ("k",), {"ex": 9}),
    ("hdel", ("k", "f"), {}),
    ("lpop", ("k",), {}),
    ("rpop", ("k", 2), {}),
    ("lpushx", ("k", "v"), {}),
    ("lrem", ("k", 0, "v"), {}),
    ("linsert", ("k", "before", "a", "b"), {}),
    ("lmove", ("a", "b"), {}),
    ("rpoplpush", ("a", "b"), {}),
    ("lmpop", (2, "a", "b"), {"direction": "LEFT"}),
    ("blpop", ("k",), {"timeout": 0.01}),
    ("bzpopmin", ("k",), {"timeout": 0.01}),
    ("spop", ("k",), {}),
    ("spop", ("k", 2), {}),
    ("srem", ("k", "m"), {}),
    ("smove", ("a", "b", "m"), {}),
    ("zadd", ("k", {"m": 1}), {"xx": True}),
    ("zadd", ("k", {"m": 1}), {"xx": True, "incr": True}),
    ("zrem", ("k", "m"), {}),
    ("zpopmin", ("k",), {}),
    ("zpopmax", ("k", 2), {}),
    ("zmpop", (2, ["a", "b"]), {"min": True}),
    ("zremrangebyscore", ("k", 0, 1), {}),
    ("zunionstore", ("to", ["a", "b"]), {}),
    ("sinterstore", ("to", "a", "b"), {}),
    ("xdel", ("k", "1-1"), {}),
    ("xack", ("k", "g", "1-1"), {}),
    ("xtrim", ("k",), {"maxlen": 1}),
]
SINCE_7_0 = {"expiretime", "pexpiretime", "lcs", "sintercard", "zintercard", "lmpop", "zmpop"}
WAYS = [(protocol, decode) for protocol in (2, 3, None) for decode in (False, True)]


class Unanswered(redis.Redis):
    """redis-py as it is when every command is answered with a miss."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        kwargs = self.connection_pool.connection_kwargs
        make: Any = redis.Connection  # untyped in redis-py
        reply = miss_reply(args, make(**kwargs).protocol == 3, kwargs["decode_responses"])
        options.pop("keys", None)  # for redis-py's own cache
        callbacks: Any = self.response_callbacks
        callback = callbacks.get(args[0])
        return callback(reply, **options) if callback else reply


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0) as stack:
        yield stack.start_redis().address.port


@pytest.fixture(scope="module", params=WAYS, ids=str)
def pair(request: pytest.FixtureRequest, port: int) -> Iterator[tuple[Any, Any]]:
    protocol, decode = request.param
    options: dict[str, Any] = {"port": port, "decode_responses": decode}
    if protocol is not None:
        options["protocol"] = protocol
    with redis.Redis(**options) as asked, Unanswered(**options) as unanswered:
        yield asked, unanswered


@pytest.mark.parametrize(
    ("method", "args", "named"),
    READS + WRITES_THAT_FIND_NOTHING,
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_miss_is_what_a_server_without_the_key_says(
    pair: tuple[Any, Any], method: str, args: tuple[Any, ...], named: dict[str, Any]
) -> None:
    asked, unanswered = pair
    if method in SINCE_7_0:
        needs_command(asked, method)
    answer = getattr(unanswered, method)(*args, **named)
    wanted = getattr(asked, method)(*args, **named)
    assert answer == wanted
    assert type(answer) is type(wanted)
    assert asked.dbsize() == 0


def test_many_kinds_of_commands_are_compared() -> None:
    assert len({method for method, _, _ in READS}) > 60
    assert len({method for method, _, _ in WRITES_THAT_FIND_NOTHING}) > 30


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("set", ("k", "v")),
        ("execute_command", ("SETEX", "k", 1, "v")),
        ("psetex", ("k", 1, "v")),
        ("setnx", ("k", "v")),
        ("mset", ({"k": "v"},)),
        ("msetnx", ({"k": "v"},)),
        ("getset", ("k", "v")),
        ("append", ("k", "v")),
        ("incr", ("k",)),
        ("decrby", ("k", 2)),
        ("incrbyfloat", ("k", 0.5)),
        ("hset", ("k", "f", "v")),
        ("hincrby", ("k", "f")),
        ("hincrbyfloat", ("k", "f")),
        ("lpush", ("k", "v")),
        ("lset", ("k", 0, "v")),
        ("ltrim", ("k", 0, 1)),
        ("sadd", ("k", "m")),
        ("zadd", ("k", {"m": 1})),
        ("zincrby", ("k", 1, "m")),
        ("xadd", ("k", {"f": "v"})),
        ("xgroup_create", ("k", "g")),
        ("pfadd", ("k", "v")),
        ("pfmerge", ("k", "a")),
        ("rename", ("a", "b")),
        ("restore", ("k", 0, b"")),
        ("eval", ("return 1", 1, "k")),
    ],
)
def test_a_write_that_was_dropped_is_not_done(
    pair: tuple[Any, Any], method: str, args: tuple[Any, ...]
) -> None:
    assert not getattr(pair[1], method)(*args)
