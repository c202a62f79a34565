"""Replies for commands that no server ran, where the app wants a miss instead of an error.

A read is answered as if its key did not exist, a write as if nothing was done. The replies have the
form in which a server sends them, so redis-py's response callbacks apply as usual.

Source: redis.io/docs/latest/commands, replies for a key that does not exist. For commands of Redis
7.0 a test compares them with a server's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cachemesh.core.commands.registry import TABLE_REGISTRY
from cachemesh.core.commands.spec import Args, is_word, sort_options

NO_MISS_REPLY: Any = object()
"""Stands for "there is no miss reply": the error has to be raised."""


def miss_reply(args: Args, resp3: bool = False, text: bool = False) -> Any:
    """Return the reply that means "the key does not exist" or "nothing was done".

    Most commands that reply with a value or OK, and unknown commands, get None: Redis's nil, which
    redis-py turns into None or False. INCRBYFLOAT and HINCRBYFLOAT get 0, because their callbacks
    do not accept nil.

    Args:
        args: the call as given to ``execute_command``, or one shard's sub-request.
        resp3: the connection uses RESP3, where maps are not lists.
        text: replies are decoded, so they hold str instead of bytes.

    Returns:
        A new reply, or `NO_MISS_REPLY` for commands without keys and for those without a reply of
        that meaning.

    Raises:
        UnsupportedCommandError: the call has no name.
    """
    command, words = TABLE_REGISTRY.look_up(args)
    if command is None:
        return None
    if not command.specs or command.name in _WITHOUT_MISS_REPLY or len(words) < 2:
        return NO_MISS_REPLY
    make = _MAKERS.get(command.name)
    reply = None if make is None else make(words, resp3)
    return _as_text(reply) if text else reply


def _as_text(reply: Any) -> Any:
    if isinstance(reply, bytes):
        return reply.decode("ascii")
    if isinstance(reply, list):
        return [_as_text(item) for item in reply]
    if isinstance(reply, dict):
        return {_as_text(name): _as_text(value) for name, value in reply.items()}
    return reply


ReplyMaker = Callable[[Sequence[Any], bool], Any]
"""Returns a reply; takes the words of a call, and whether the connection uses RESP3."""


def _always(reply: int | bytes | None) -> ReplyMaker:
    return lambda words, resp3: reply


def _empty(words: Sequence[Any], resp3: bool) -> Any:
    return []


def _empty_map(words: Sequence[Any], resp3: bool) -> Any:
    return {} if resp3 else []


def _end_of_scan(words: Sequence[Any], resp3: bool) -> Any:
    return [b"0", []]


def _each(item: Any, first: int, step: int = 1) -> ReplyMaker:
    """Make a list with one item per argument, or group of ``step`` arguments, from ``first`` on."""
    return lambda words, resp3: [item] * max(0, (len(words) - first) // step)


def _announced(item: Any, keyword: str) -> ReplyMaker:
    """Make a list with as many items as the number after the keyword says."""

    def make(words: Sequence[Any], resp3: bool) -> Any:
        at = _position(words, keyword, 2)
        try:
            return [item] * int(words[at + 1]) if at else []
        except (IndexError, TypeError, ValueError):
            return []  # the server would have refused the call

    return make


def _behind(item: Any, keyword: str) -> ReplyMaker:
    """Make a list with one item for each argument after the keyword."""

    def make(words: Sequence[Any], resp3: bool) -> Any:
        at = _position(words, keyword, 2)
        return [item] * (len(words) - at - 1) if at else []

    return make


def _with_count(several: ReplyMaker) -> ReplyMaker:
    """Make an empty reply if a count follows the key, otherwise nil."""
    return lambda words, resp3: several(words, resp3) if len(words) > 2 else None


def _with_option(option: str, first: int, reply: ReplyMaker, otherwise: ReplyMaker) -> ReplyMaker:
    """Make one reply if the option is among the arguments from ``first`` on, otherwise another."""

    def make(words: Sequence[Any], resp3: bool) -> Any:
        return (reply if _position(words, option, first) else otherwise)(words, resp3)

    return make


def _position(words: Sequence[Any], keyword: str, first: int) -> int:
    """Return the position of a keyword, searched from ``first`` on; 0 if it is missing."""
    return next((at for at in range(first, len(words)) if is_word(words[at], keyword)), 0)


def _sort(words: Sequence[Any], resp3: bool) -> Any:
    return 0 if sort_options(words)[0] else []


def _zadd(words: Sequence[Any], resp3: bool) -> Any:
    for word in words[2:]:
        if is_word(word, "INCR"):
            return None
        if not any(is_word(word, option) for option in ("NX", "XX", "GT", "LT", "CH")):
            break  # scores and members follow
    return 0


def _bitfield(words: Sequence[Any], resp3: bool) -> Any:
    """Reply 0 to GET, and nil to SET and INCRBY, as with OVERFLOW FAIL."""
    reply: list[int | None] = []
    at = 2
    while at < len(words):
        if is_word(words[at], "OVERFLOW"):
            at += 2
        elif is_word(words[at], "GET"):
            reply.append(0)
            at += 3
        else:
            reply.append(None)
            at += 4
    return reply


def _bitpos(words: Sequence[Any], resp3: bool) -> Any:
    """Reply as for a key that does not exist, which counts as an endless row of zeros."""
    return -1 if len(words) > 2 and words[2] in (1, "1", b"1") else 0


def _lcs_matches(words: Sequence[Any], resp3: bool) -> Any:
    return {b"matches": [], b"len": 0} if resp3 else [b"matches", [], b"len", 0]


def _xpending(words: Sequence[Any], resp3: bool) -> Any:
    return [] if len(words) > 3 else [0, None, None, None]


def _xautoclaim(words: Sequence[Any], resp3: bool) -> Any:
    return [b"0-0", [], []]


_ZERO = _always(0)

_WITHOUT_MISS_REPLY = frozenset(
    {
        *("WATCH", "SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE", "MIGRATE", "PFDEBUG", "DEBUG OBJECT"),
        *("BF.INFO", "CF.INFO", "CMS.INFO", "TDIGEST.INFO", "TOPK.INFO", "TS.INFO", "XINFO STREAM"),
        *("TDIGEST.MIN", "TDIGEST.MAX", "TDIGEST.TRIMMED_MEAN"),
    }
)
"""Commands that do not ask what a key holds, or whose callbacks need what only an existing key has.
"""

_ALIKE: tuple[tuple[ReplyMaker, str], ...] = (
    (
        _ZERO,
        # generic, strings, bits
        "COPY DEL EXISTS EXPIRE EXPIREAT MOVE PERSIST PEXPIRE PEXPIREAT RENAMENX TOUCH UNLINK "
        "BITCOUNT BITOP DELEX GETBIT MSETEX MSETNX PFADD PFCOUNT SETBIT SETNX SETRANGE STRLEN "
        # hashes, lists, sets
        "HDEL HEXISTS HLEN HSET HSETEX HSETNX HSTRLEN LINSERT LLEN LPUSH LPUSHX LREM RPUSH RPUSHX "
        "SADD SCARD SDIFFCARD SDIFFSTORE SINTERCARD SINTERSTORE SISMEMBER SMOVE SREM SUNIONCARD "
        "SUNIONSTORE "
        # sorted sets, places, streams
        "ZCARD ZCOUNT ZDIFFSTORE ZINTERCARD ZINTERSTORE ZLEXCOUNT ZRANGESTORE ZREM ZREMRANGEBYLEX "
        "ZREMRANGEBYRANK ZREMRANGEBYSCORE ZUNIONSTORE GEOADD GEOSEARCHSTORE XACK XDEL XLEN XTRIM "
        # arrays, vector sets, modules
        "ARCOUNT ARDEL ARDELRANGE ARLEN ARMSET ARSEEK ARSET VADD VCARD VISMEMBER VREM VSETATTR "
        "BF.ADD BF.CARD BF.EXISTS CF.ADD CF.ADDNX CF.COUNT CF.DEL CF.EXISTS FT.SUGADD FT.SUGDEL "
        "FT.SUGLEN JSON.CLEAR JSON.DEL JSON.FORGET TS.DEL",
    ),
    (_always(-2), "TTL PTTL EXPIRETIME PEXPIRETIME"),
    (_always(b""), "GETRANGE SUBSTR"),
    (_always(b"none"), "TYPE"),
    (_always(b"0"), "INCRBYFLOAT HINCRBYFLOAT"),
    (
        _empty,
        "HKEYS HVALS LRANGE SMEMBERS SDIFF SINTER SUNION ZDIFF ZINTER ZUNION ZPOPMAX ZPOPMIN "
        "ZRANGE ZRANGEBYLEX ZRANGEBYSCORE "
        "ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH "
        "XCLAIM XRANGE XREVRANGE ARGETRANGE ARGREP ARLASTITEMS ARSCAN VLINKS VRANGE FT.SUGGET "
        "TDIGEST.BYRANK TDIGEST.BYREVRANK TDIGEST.CDF TDIGEST.QUANTILE TDIGEST.RANK "
        "TDIGEST.REVRANK TOPK.LIST TS.NRANGE TS.NREVRANGE TS.RANGE TS.READ TS.REVRANGE",
    ),
    (_empty_map, "HGETALL ARINFO VINFO"),
    (_end_of_scan, "HSCAN SSCAN ZSCAN"),
    (_with_count(_empty), "SPOP HRANDFIELD SRANDMEMBER ZRANDMEMBER VRANDMEMBER"),
    (_each(None, 1), "MGET"),
    (_each(None, 2), "HMGET ZMSCORE GEOHASH GEOPOS ARMGET FT.MGET TOPK.ADD"),
    (_each(0, 2), "SMISMEMBER BF.MADD BF.MEXISTS CF.MEXISTS CMS.QUERY TOPK.COUNT TOPK.QUERY"),
    (_each(None, 2, 2), "CMS.INCRBY TOPK.INCRBY"),
    (_announced(None, "FIELDS"), "HGETDEL HGETEX"),
    (
        _announced(-2, "FIELDS"),
        "HEXPIRE HEXPIREAT HPEXPIRE HPEXPIREAT HPERSIST HTTL HPTTL HEXPIRETIME HPEXPIRETIME",
    ),
    (_announced(-1, "IDS"), "XACKDEL XDELEX"),
    (_behind(0, "ITEMS"), "BF.INSERT CF.INSERT CF.INSERTNX"),
    (_sort, "SORT SORT_RO"),
    (_bitfield, "BITFIELD BITFIELD_RO"),
)
_MAKERS: dict[str, ReplyMaker] = {
    **{name: maker for maker, names in _ALIKE for name in names.split()},
    "XGROUP CREATECONSUMER": _ZERO,
    "XGROUP DELCONSUMER": _ZERO,
    "XGROUP DESTROY": _ZERO,
    "XINFO CONSUMERS": _empty,
    "XINFO GROUPS": _empty,
    "BITPOS": _bitpos,
    "GEORADIUS": _with_option("STORE", 6, _ZERO, _with_option("STOREDIST", 6, _ZERO, _empty)),
    "GEORADIUSBYMEMBER": _with_option(
        "STORE", 5, _ZERO, _with_option("STOREDIST", 5, _ZERO, _empty)
    ),
    "JSON.MGET": _each(None, 2),
    "LCS": _with_option("LEN", 3, _ZERO, _with_option("IDX", 3, _lcs_matches, _always(b""))),
    "LPOS": _with_option("COUNT", 3, _empty, _always(None)),
    "TS.MADD": _each(None, 1, 3),
    "VSIM": _with_option(
        "WITHSCORES", 3, _empty_map, _with_option("WITHATTRIBS", 3, _empty_map, _empty)
    ),
    "XAUTOCLAIM": _xautoclaim,
    "XPENDING": _xpending,
    "ZADD": _zadd,
}
"""The makers of all replies that are not simply None."""
