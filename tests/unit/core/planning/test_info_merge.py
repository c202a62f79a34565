"""INFO of several shards is merged into one that redis-py parses."""

from __future__ import annotations

from typing import Any

import pytest
from redis._parsers import helpers

from cachemesh.core.planning.info_merge import info_of_all

parse_info: Any = helpers.parse_info  # untyped in redis-py

FIRST = """# Server\r
redis_version:7.0.15\r
process_id:100\r
uptime_in_seconds:500\r
\r
# Clients\r
connected_clients:3\r
client_recent_max_input_buffer:20\r
\r
# Memory\r
used_memory:1048576\r
used_memory_human:1.00M\r
used_memory_peak_perc:90.00%\r
mem_fragmentation_ratio:1.50\r
maxmemory_policy:noeviction\r
\r
# Persistence\r
loading:0\r
rdb_changes_since_last_save:2\r
rdb_last_save_time:1000\r
rdb_last_bgsave_status:ok\r
\r
# Stats\r
keyspace_hits:10\r
instantaneous_input_kbps:1.25\r
pubsub_patterns:2\r
\r
# Replication\r
role:master\r
connected_slaves:1\r
master_replid:aaa\r
\r
# Modules\r
module:name=bf,ver=1,path=/a:b\r
module:name=json,ver=2\r
\r
# Commandstats\r
cmdstat_get:calls=1,usec=10,usec_per_call=10.00,rejected_calls=0,failed_calls=0\r
\r
# Keyspace\r
db0:keys=5,expires=1,avg_ttl=100\r
"""
SECOND = """# Server\r
redis_version:7.0.15\r
process_id:90\r
uptime_in_seconds:300\r
\r
# Clients\r
connected_clients:4\r
client_recent_max_input_buffer:10\r
\r
# Memory\r
used_memory:2097152\r
used_memory_human:2.00M\r
used_memory_peak_perc:95.00%\r
mem_fragmentation_ratio:1.20\r
maxmemory_policy:noeviction\r
\r
# Persistence\r
loading:1\r
rdb_changes_since_last_save:3\r
rdb_last_save_time:900\r
rdb_last_bgsave_status:err\r
\r
# Stats\r
keyspace_hits:5\r
instantaneous_input_kbps:0.50\r
pubsub_patterns:2\r
\r
# Replication\r
role:master\r
connected_slaves:2\r
master_replid:bbb\r
\r
# Modules\r
module:name=bf,ver=1,path=/a:b\r
module:name=json,ver=2\r
\r
# Commandstats\r
cmdstat_get:calls=3,usec=20,usec_per_call=6.67,rejected_calls=1,failed_calls=0\r
cmdstat_set:calls=2,usec=8,usec_per_call=4.00,rejected_calls=0,failed_calls=0\r
\r
# Errorstats\r
errorstat_ERR:count=2\r
\r
# Latencystats\r
latency_percentiles_usec_get:p50=1.003,p99=18.047,p99.9=18.047\r
\r
# Keyspace\r
db0:keys=7,expires=3,avg_ttl=500\r
db1:keys=1,expires=0,avg_ttl=0\r
"""


@pytest.mark.parametrize("decoded", [True, False])
def test_info_is_added_up(decoded: bool) -> None:
    texts: list[Any] = [FIRST, SECOND]
    if not decoded:
        texts = [text.encode() for text in texts]
    merged = info_of_all(texts, ("INFO",))
    assert isinstance(merged, str if decoded else bytes)
    info: dict[str, Any] = parse_info(merged)
    expected = {
        "redis_version": "7.0.15",
        "process_id": 100,
        "uptime_in_seconds": 300,
        "connected_clients": 7,
        "client_recent_max_input_buffer": 20,
        "used_memory": 3145728,
        "used_memory_human": "3.00M",
        "used_memory_peak_perc": "95.00%",
        "mem_fragmentation_ratio": 1.5,
        "maxmemory_policy": "noeviction",
        "loading": 1,
        "rdb_changes_since_last_save": 5,
        "rdb_last_save_time": 900,
        "rdb_last_bgsave_status": "err",
        "keyspace_hits": 15,
        "instantaneous_input_kbps": 1.75,
        "pubsub_patterns": 2,
        "role": "master",
        "connected_slaves": 3,
        "master_replid": "aaa",
        "errorstat_ERR": {"count": 2},
        "db0": {"keys": 12, "expires": 4, "avg_ttl": 400},
        "db1": {"keys": 1, "expires": 0, "avg_ttl": 0},
    }
    assert {name: info.get(name) for name in expected} == expected
    assert info["cmdstat_get"]["calls"] == 4
    assert info["cmdstat_get"]["usec_per_call"] == 7.5
    assert info["cmdstat_set"]["usec_per_call"] == 4.0
    assert info["latency_percentiles_usec_get"]["p99"] == 18.047
    assert [module["name"] for module in info["modules"]] == ["bf", "json"]


def test_info_of_equal_shards_differs_in_counts_alone() -> None:
    one, two = parse_info(FIRST), parse_info(info_of_all([FIRST, FIRST], ("INFO",)))
    assert one.keys() == two.keys()
    assert {name for name in one if one[name] != two[name]} == {
        *("connected_clients", "used_memory", "used_memory_human", "keyspace_hits"),
        *("instantaneous_input_kbps", "cmdstat_get", "db0"),
        *("rdb_changes_since_last_save", "connected_slaves"),
    }


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (990304, "967.09K"), (25276510208, "23.54G")],
)
def test_sizes_read_as_redis_writes_them(size: int, shown: str) -> None:
    text = f"# Memory\r\nused_memory:{size}\r\nused_memory_human:x\r\n"
    assert parse_info(info_of_all([text], ()))["used_memory_human"] == shown
