"""What instances say of their part in replication, in all the forms in which they say it."""

from __future__ import annotations

from typing import Any

import pytest

from cachemesh.core.names import Address
from cachemesh.core.reads.replication_status import Standing, standing

HERE = Address("10.0.0.1", 6379)
MASTER = (
    "# Replication\r\nrole:master\r\nconnected_slaves:1\r\n"
    "slave0:ip=10.0.0.2,port=6379,state=online,offset=40,lag=0\r\n"
    "master_replid:abc\r\nmaster_replid2:000\r\nmaster_repl_offset:50\r\n"
)
REPLICA = (
    "# Replication\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_link_status:up\r\n"
    "master_sync_in_progress:0\r\nslave_read_repl_offset:48\r\nslave_repl_offset:45\r\n"
    "master_replid:abc\r\nmaster_repl_offset:45\r\n"
)


@pytest.mark.parametrize("decoded", [False, True])
@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (MASTER, Standing(True, "abc", 50)),
        (REPLICA, Standing(False, "abc", 45)),
        (REPLICA.replace("status:up", "status:down"), Standing(False, "abc", 45)),
        (REPLICA.replace("progress:0", "progress:1"), Standing(False, "abc", -1)),
        ("# Replication\r\nrole:sentinel\r\n", None),
        ("", None),
    ],
)
def test_info(reply: str, wanted: Standing | None, decoded: bool) -> None:
    assert standing(HERE, reply if decoded else reply.encode()) == wanted


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ([b"master", 50, [[b"10.0.0.2", b"6379", b"40"]]], Standing(True, "10.0.0.1:6379", 50)),
        (["slave", "10.0.0.1", 6379, "connected", 45], Standing(False, "10.0.0.1:6379", 45)),
        ([b"slave", b"fe80::1", 6379, b"connected", 45], Standing(False, "[fe80::1]:6379", 45)),
        ([b"slave", b"10.0.0.1", 6379, b"sync", -1], Standing(False, "10.0.0.1:6379", -1)),
        ([b"sentinel", [b"cache-0"]], None),
        ([b"master"], None),
        ([b"slave", b"10.0.0.1", b"x", b"connected", 45], None),
        ([], None),
    ],
)
def test_role(reply: list[Any], wanted: Standing | None) -> None:
    assert standing(HERE, reply) == wanted


@pytest.mark.parametrize("reply", [None, 7, ValueError("no"), {}, [None], b"\xff:\xff"])
def test_what_is_neither(reply: Any) -> None:
    assert standing(HERE, reply) is None
