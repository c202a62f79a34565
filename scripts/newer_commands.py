"""Commands that the server asked by `generate-commands` may be too old or too plain to know.

In the table's own form: name -> (flags, key specifications, request policy, response policy,
group, since). A row of the server itself wins over a row here.

Sources: for Redis the files ``src/commands/*.json`` of redis/redis (key specifications, flags and
tips of each command); for its modules the syntax at redis.io/docs/latest/commands/NAME, such as
redis.io/docs/latest/commands/json.mget. ``since`` of a module is the module's version, as there.
"""

from __future__ import annotations

from typing import Any

FIRST = ((1, ("range", 0, 1, 0)),)
SECOND = ((2, ("range", 0, 1, 0)),)
FIRST_TWO = ((1, ("range", 1, 1, 0)),)
COUNTED = ((1, ("keynum", 0, 1, 1)),)
COUNTED_PAIRS = ((1, ("keynum", 0, 1, 2)),)
DESTINATION_THEN_COUNTED = (*FIRST, (2, ("keynum", 0, 1, 1)))
TRIPLES = ((1, ("range", -1, 3, 0)),)
ALL_BUT_LAST = ((1, ("range", -2, 1, 0)),)
FROM_SECOND = ((2, ("range", -1, 1, 0)),)
NONE = ()

ROWS: dict[str, tuple[Any, ...]] = {}


def add(
    names: str,
    flags: str,
    specs: Any,
    group: str,
    since: str,
    request: str = "",
    response: str = "",
) -> None:
    """Rows for commands that differ in nothing but their names, separated by commas."""
    for name in names.split(","):
        ROWS[name.strip()] = (flags, specs, request, response, group, since)


# Known to every server, but not as rows of their own in the reply of COMMAND.
add("COMMAND", "", NONE, "server", "2.8.13")
add("DEBUG OBJECT", "r", SECOND, "server", "1.0.0")

# Redis 7.2
add("CLIENT NO-TOUCH, CLIENT SETINFO", "", NONE, "connection", "7.2.0")
add("CLUSTER MYSHARDID", "", NONE, "cluster", "7.2.0")
add("WAITAOF", "b", NONE, "generic", "7.2.0", "all_shards", "agg_min")

# Redis 7.4
add("HEXPIRE, HPEXPIRE, HEXPIREAT, HPEXPIREAT, HPERSIST", "w", FIRST, "hash", "7.4.0")
add("HTTL, HPTTL, HEXPIRETIME, HPEXPIRETIME", "r", FIRST, "hash", "7.4.0")

# Redis 8.0
add("HGETEX, HGETDEL, HSETEX", "w", FIRST, "hash", "8.0.0")
add("VADD, VREM, VSETATTR", "w", FIRST, "vector set", "8.0.0")
add(
    "VCARD, VDIM, VEMB, VGETATTR, VINFO, VLINKS, VRANDMEMBER, VSIM",
    "r",
    FIRST,
    "vector set",
    "8.0.0",
)

# Redis 8.2
add("XACKDEL, XDELEX", "w", FIRST, "stream", "8.2.0")
add("VISMEMBER", "r", FIRST, "vector set", "8.2.0")
add("CLUSTER SLOT-STATS", "", NONE, "cluster", "8.2.0")

# Redis 8.4
add("DELEX", "w", FIRST, "string", "8.4.0")
add("DIGEST", "r", FIRST, "string", "8.4.0")
add("MSETEX", "w", COUNTED_PAIRS, "string", "8.4.0", "multi_shard", "all_succeeded")
add("VRANGE", "r", FIRST, "vector set", "8.4.0")
add("CLUSTER MIGRATION", "", NONE, "cluster", "8.4.0")

# Redis 8.6
add("XCFGSET", "w", FIRST, "stream", "8.6.0")
add("HOTKEYS START, HOTKEYS STOP, HOTKEYS RESET, HOTKEYS GET", "", NONE, "server", "8.6.0")

# Redis 8.8
add("INCREX", "w", FIRST, "string", "8.8.0")
add("XNACK", "w", FIRST, "stream", "8.8.0")
add("SDIFFCARD, SUNIONCARD", "r", COUNTED, "set", "8.8.0")
add("ARDEL, ARDELRANGE, ARINSERT, ARMSET, ARRING, ARSEEK, ARSET", "w", FIRST, "array", "8.8.0")
add(
    "ARCOUNT, ARGET, ARGETRANGE, ARGREP, ARINFO, ARLASTITEMS, ARLEN, ARMGET, ARNEXT, AROP, ARSCAN",
    "r",
    FIRST,
    "array",
    "8.8.0",
)

# Redis 8.10
add("LMOVEM", "w", FIRST_TWO, "list", "8.10.0")
add("BLMOVEM", "wb", FIRST_TWO, "list", "8.10.0")
add("HIMPORT SET", "w", SECOND, "hash", "8.10.0")
add("HIMPORT PREPARE, HIMPORT DISCARD, HIMPORT DISCARDALL", "", NONE, "hash", "8.10.0")

# JSON
add(
    "JSON.ARRAPPEND, JSON.ARRINSERT, JSON.ARRPOP, JSON.ARRTRIM, JSON.CLEAR, JSON.DEL, JSON.FORGET, "
    "JSON.NUMINCRBY, JSON.NUMMULTBY, JSON.NUMPOWBY, JSON.SET, JSON.STRAPPEND, JSON.TOGGLE",
    "w",
    FIRST,
    "json",
    "1.0.0",
)
add(
    "JSON.ARRINDEX, JSON.ARRLEN, JSON.GET, JSON.OBJKEYS, JSON.OBJLEN, JSON.RESP, JSON.STRLEN, "
    "JSON.TYPE",
    "r",
    FIRST,
    "json",
    "1.0.0",
)
add("JSON.MERGE", "w", FIRST, "json", "2.6.0")
add("JSON.MGET", "r", ALL_BUT_LAST, "json", "1.0.0", "multi_shard")
add("JSON.MSET", "w", TRIPLES, "json", "2.6.0", "multi_shard", "all_succeeded")
add("JSON.DEBUG", "r", SECOND, "json", "1.0.0")

# Probabilistic: Bloom, cuckoo, count-min sketch, top-k, t-digest
add("BF.ADD, BF.INSERT, BF.LOADCHUNK, BF.MADD, BF.RESERVE", "w", FIRST, "bf", "1.0.0")
add("BF.EXISTS, BF.INFO, BF.MEXISTS, BF.SCANDUMP", "r", FIRST, "bf", "1.0.0")
add("BF.CARD", "r", FIRST, "bf", "2.4.4")
add(
    "CF.ADD, CF.ADDNX, CF.DEL, CF.INSERT, CF.INSERTNX, CF.LOADCHUNK, CF.RESERVE",
    "w",
    FIRST,
    "cf",
    "1.0.0",
)
add("CF.COUNT, CF.EXISTS, CF.INFO, CF.MEXISTS, CF.SCANDUMP", "r", FIRST, "cf", "1.0.0")
add("CMS.INCRBY, CMS.INITBYDIM, CMS.INITBYPROB", "w", FIRST, "cms", "2.0.0")
add("CMS.INFO, CMS.QUERY", "r", FIRST, "cms", "2.0.0")
add("CMS.MERGE", "w", DESTINATION_THEN_COUNTED, "cms", "2.0.0")
add("TOPK.ADD, TOPK.INCRBY, TOPK.RESERVE", "w", FIRST, "topk", "2.0.0")
add("TOPK.COUNT, TOPK.INFO, TOPK.LIST, TOPK.QUERY", "r", FIRST, "topk", "2.0.0")
add("TDIGEST.ADD, TDIGEST.CREATE, TDIGEST.RESET", "w", FIRST, "tdigest", "2.4.0")
add(
    "TDIGEST.BYRANK, TDIGEST.BYREVRANK, TDIGEST.CDF, TDIGEST.INFO, TDIGEST.MAX, TDIGEST.MIN, "
    "TDIGEST.QUANTILE, TDIGEST.RANK, TDIGEST.REVRANK, TDIGEST.TRIMMED_MEAN",
    "r",
    FIRST,
    "tdigest",
    "2.4.0",
)
add("TDIGEST.MERGE", "w", DESTINATION_THEN_COUNTED, "tdigest", "2.4.0")

# Time series
add("TS.ADD, TS.ALTER, TS.CREATE, TS.DECRBY, TS.DEL, TS.INCRBY", "w", FIRST, "timeseries", "1.0.0")
add("TS.GET, TS.INFO, TS.RANGE, TS.REVRANGE", "r", FIRST, "timeseries", "1.0.0")
add("TS.READ", "rb", FIRST, "timeseries", "8.8.0")
add("TS.CREATERULE, TS.DELETERULE", "w", FIRST_TWO, "timeseries", "1.0.0")
add("TS.MADD", "w", TRIPLES, "timeseries", "1.0.0", "multi_shard")
add("TS.NRANGE, TS.NREVRANGE", "r", COUNTED, "timeseries", "8.8.0")
add(
    "TS.MGET, TS.MRANGE, TS.MREVRANGE, TS.QUERYINDEX, TS.QUERYLABELS",
    "r",
    NONE,
    "timeseries",
    "1.0.0",
)

# Search
add("FT.SUGADD, FT.SUGDEL", "w", FIRST, "search", "1.0.0")
add("FT.SUGGET, FT.SUGLEN", "r", FIRST, "search", "1.0.0")
add("FT.ADD, FT.ADDHASH, FT.DEL", "w", SECOND, "search", "1.0.0")
add("FT.GET", "r", SECOND, "search", "1.0.0")
add("FT.MGET", "r", FROM_SECOND, "search", "1.0.0", "multi_shard")
add(
    "FT.ALIASADD, FT.ALIASDEL, FT.ALIASUPDATE, FT.ALTER, FT.CREATE, FT.DICTADD, FT.DICTDEL, "
    "FT.DROP, FT.DROPINDEX, FT.SYNADD, FT.SYNUPDATE, FT.CONFIG SET, FT.CURSOR DEL",
    "w",
    NONE,
    "search",
    "1.0.0",
)
add(
    "FT._LIST, FT.AGGREGATE, FT.ALIASLIST, FT.CONFIG GET, FT.CONFIG HELP, FT.CURSOR READ, "
    "FT.DICTDUMP, FT.EXPLAIN, FT.EXPLAINCLI, FT.HYBRID, FT.INFO, FT.PROFILE, FT.SEARCH, "
    "FT.SPELLCHECK, FT.SYNDUMP, FT.TAGVALS",
    "r",
    NONE,
    "search",
    "1.0.0",
)

# Spoken to a Sentinel, which redis-py does through the same class.
add(
    "SENTINEL CKQUORUM, SENTINEL FAILOVER, SENTINEL FLUSHCONFIG, "
    "SENTINEL GET-MASTER-ADDR-BY-NAME, SENTINEL MASTER, SENTINEL MASTERS, SENTINEL MONITOR, "
    "SENTINEL MYID, SENTINEL REMOVE, SENTINEL REPLICAS, SENTINEL RESET, SENTINEL SENTINELS, "
    "SENTINEL SET, SENTINEL SLAVES",
    "",
    NONE,
    "sentinel",
    "2.8.4",
)
