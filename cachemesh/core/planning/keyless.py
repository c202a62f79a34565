"""What a command does on a pool of several shards if its keys alone do not tell.

On a pool of one shard all commands go to that shard, except those that no shared connection can
carry (`ALWAYS_REFUSED`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from cachemesh.core.commands.spec import Command, is_word
from cachemesh.core.planning import merge
from cachemesh.core.planning.info_merge import info_of_all
from cachemesh.core.planning.merge import MergeWith, Words

To = Literal["all", "one", "channel", "scan", "none"]


@dataclass(frozen=True)
class KeylessRule:
    """Where a command without keys goes.

    Attributes:
        to: all shards, one shard, the shard that owns the channel's name, one shard after the other
            (scan), or none.
        merge: how the replies of all shards become one.
        why: for none, the reason and what to do instead.
        refuses: returns why a call is refused, or None; takes the words of the call.
    """

    to: To
    merge: MergeWith = merge.first
    why: str = ""
    refuses: Callable[[Words], str | None] | None = None


def _names(*groups: str) -> list[str]:
    return [name.strip() for group in groups for name in group.split(",")]


RULES: dict[str, KeylessRule] = {}


def _all(how: MergeWith, *names: str) -> None:
    RULES.update(dict.fromkeys(_names(*names), KeylessRule("all", how)))


def _none(why: str, *names: str) -> None:
    RULES.update(dict.fromkeys(_names(*names), KeylessRule("none", why=why)))


_all(
    merge.first,
    "PING, FLUSHALL, FLUSHDB, SAVE, BGSAVE, BGREWRITEAOF, MEMORY PURGE, SLOWLOG RESET",
    "SCRIPT LOAD, SCRIPT FLUSH, FUNCTION LOAD, FUNCTION DELETE, FUNCTION FLUSH, FUNCTION RESTORE",
    "CONFIG SET, CONFIG RESETSTAT, CONFIG REWRITE, CLIENT PAUSE, CLIENT UNPAUSE",
    "CLIENT SETNAME",
    "ACL SETUSER, ACL LOAD, ACL SAVE, MODULE LOAD, MODULE LOADEX, MODULE UNLOAD",
    "HOTKEYS START, HOTKEYS STOP, HOTKEYS RESET",
    "FT.CREATE, FT.ALTER, FT.DROP, FT.DROPINDEX, FT.ALIASADD, FT.ALIASDEL, FT.ALIASUPDATE",
    "FT.SYNADD, FT.SYNUPDATE, FT.CONFIG SET",
)
_all(merge.added, "DBSIZE, SLOWLOG LEN, LATENCY RESET, CLIENT KILL")
_all(merge.lowest, "WAIT, WAITAOF, LASTSAVE")
_all(merge.highest, "PUBSUB NUMPAT, ACL DELUSER, FT.DICTADD, FT.DICTDEL")
_all(merge.all_true, "SCRIPT EXISTS")
_all(
    merge.one_after_the_other,
    "KEYS, CLIENT LIST, HOTKEYS GET, TS.QUERYINDEX, TS.MGET, TS.MRANGE, TS.MREVRANGE",
)
_all(merge.each_once, "PUBSUB CHANNELS, PUBSUB SHARDCHANNELS, FT.TAGVALS, TS.QUERYLABELS")
_all(merge.added_by_name, "PUBSUB NUMSUB, PUBSUB SHARDNUMSUB")
_all(merge.list_or_first, "ACL LOG")
_all(merge.any_found, "RANDOMKEY")
_all(merge.newest_first, "SLOWLOG GET")
_all(merge.oldest_first, "LATENCY HISTORY")
_all(merge.latest_by_name, "LATENCY LATEST")
_all(merge.busy_or_first, "FUNCTION STATS")
_all(merge.any_success, "SCRIPT KILL, FUNCTION KILL")
_all(info_of_all, "INFO")

RULES.update(
    dict.fromkeys(
        _names(
            "ECHO, TIME, LOLWUT, PFSELFTEST, CONFIG GET, MODULE LIST, CLIENT GETNAME, CLIENT INFO",
            "COMMAND, COMMAND COUNT, COMMAND DOCS, COMMAND GETKEYS, COMMAND GETKEYSANDFLAGS",
            "COMMAND INFO, COMMAND LIST, FUNCTION DUMP, FUNCTION LIST",
            "ACL CAT, ACL DRYRUN, ACL GENPASS, ACL GETUSER, ACL LIST, ACL USERS, ACL WHOAMI",
            "FT._LIST, FT.ALIASLIST, FT.CONFIG GET, FT.DICTDUMP, FT.EXPLAIN, FT.EXPLAINCLI",
            "FT.SYNDUMP",
        ),
        KeylessRule("one"),
    )
)


def _kill_of_one(words: Words) -> str | None:
    if len(words) < 4 or any(is_word(word, "ID") for word in words[2::2]):
        return (
            "by address or id means other connections on each shard; use client_kill_filter() "
            "with _type, addr, laddr or user"
        )
    return None


def _grouped(words: Words) -> str | None:
    if any(is_word(word, "GROUPBY") for word in words):
        return "with GROUPBY would reduce series of several shards; group them in the app"
    return None


RULES["CLIENT KILL"] = replace(RULES["CLIENT KILL"], refuses=_kill_of_one)
for _name in ("TS.MRANGE", "TS.MREVRANGE"):
    RULES[_name] = replace(RULES[_name], refuses=_grouped)
RULES["PUBLISH"] = KeylessRule("channel")
RULES["SCAN"] = KeylessRule("scan")

_CONNECTION = "is state of one connection, and a client has many, which commands share; "
_none(_CONNECTION + "pass username, password or credential_provider to the client", "AUTH, HELLO")
_none(_CONNECTION + "pass db to the client", "SELECT")
_none(_CONNECTION + "pass driver_info to the client", "CLIENT SETINFO")
_none(
    _CONNECTION + "use redis-py on one instance",
    "CLIENT CACHING, CLIENT GETREDIR, CLIENT ID, CLIENT NO-EVICT, CLIENT NO-TOUCH, CLIENT REPLY",
    "CLIENT TRACKING, CLIENT TRACKINGINFO, ASKING, READONLY, READWRITE",
)
_none(_CONNECTION + "call close() on the client", "QUIT, RESET")
_none(
    "takes an id, and ids of different shards mean different connections; use redis-py on the "
    "instance in question",
    "CLIENT UNBLOCK",
)
_none(
    "changes who is master, which Sentinel and the metaserver decide; see cachemesh shard --help",
    "FAILOVER, REPLICAOF, SLAVEOF, ROLE",
)
_none("stops servers; use redis-py on the instance in question", "SHUTDOWN")
_none("cannot be undone where only some shards have done it; use redis-py on each", "SWAPDB")
_none(
    "shows one server; use redis-py on the instance in question",
    "DEBUG, LATENCY DOCTOR, LATENCY GRAPH, LATENCY HISTOGRAM, MEMORY DOCTOR, MEMORY MALLOC-STATS",
    "MEMORY STATS, SCRIPT DEBUG, PFDEBUG",
)
_none(
    "searches what one shard holds, and ranks of several shards cannot be put together; use "
    "redis-py on each instance",
    "FT.AGGREGATE, FT.CURSOR DEL, FT.CURSOR READ, FT.HYBRID, FT.INFO, FT.PROFILE, FT.SEARCH",
    "FT.SPELLCHECK",
)
_CLUSTER = "is for Redis Cluster, which a pool is not; see the client's topology and shard_for()"
_SENTINEL = "is spoken to a Sentinel; use redis.sentinel.Sentinel"
_none("is no longer in Redis 7; use lcs()", "STRALGO")

ALWAYS_REFUSED: dict[str, str] = {}
"""Commands that no shared connection can carry, even on one shard -> why."""


def _never(why: str, *names: str) -> None:
    ALWAYS_REFUSED.update(dict.fromkeys(_names(*names), why))


_never(
    "takes a connection of its own; use pubsub()",
    "SUBSCRIBE, UNSUBSCRIBE, PSUBSCRIBE, PUNSUBSCRIBE, SSUBSCRIBE, SUNSUBSCRIBE",
)
_never(
    "takes a connection of its own; use pipeline(), whose watch(), multi() and execute() keep to "
    "one",
    "MULTI, EXEC, DISCARD, WATCH, UNWATCH",
)
_never(
    "shows what one server does and takes a connection of its own; use redis-py on the instance",
    "MONITOR",
)
_never("is how replicas talk to their master; use redis-py on the instance", "SYNC, PSYNC")
_never("is how replicas talk to their master; use redis-py on the instance", "REPLCONF")
_never(
    "needs fields prepared on the same connection, and commands share connections; use hset()",
    "HIMPORT PREPARE, HIMPORT SET, HIMPORT DISCARD, HIMPORT DISCARDALL",
)


def rule_of(command: Command) -> KeylessRule | None:
    """Return the rule of a command without keys on several shards.

    The rule comes from `RULES`, or else from the server's tips: the request and response policy.
    Source: redis.io/docs/latest/develop/reference/command-tips.

    Args:
        command: the command that is called.

    Returns:
        None if neither has a rule.
    """
    rule = RULES.get(command.name)
    if rule is not None:
        return rule
    container, _, last = command.name.partition(" ")
    if last == "HELP":
        return KeylessRule("one")
    if container == "CLUSTER":
        return KeylessRule("none", why=_CLUSTER)
    if container == "SENTINEL":
        return KeylessRule("none", why=_SENTINEL)
    if command.request_policy in ("all_shards", "all_nodes"):
        how = _TIPS.get(command.response_policy)
        return None if how is None else KeylessRule("all", how)
    return None


_TIPS: dict[str, MergeWith] = {
    "": merge.list_or_first,
    "all_succeeded": merge.first,
    "one_succeeded": merge.any_success,
    "agg_sum": merge.added,
    "agg_min": merge.lowest,
    "agg_max": merge.highest,
    "agg_logical_and": merge.all_true,
}
