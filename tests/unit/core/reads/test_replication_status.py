"""What instances say of their part in replication, in all the forms in which they say it."""

from __future__ import annotations

from typing import Any

import pytest

from cachemesh.core.names import Address
from cachemesh.core.reads.replication_status import (
    ReplicationStatus,
    RoleReply,
    info_fields,
    parse_role,
    replication_status,
)

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
        (MASTER, ReplicationStatus(True, "abc", 50)),
        (REPLICA, ReplicationStatus(False, "abc", 45)),
        (REPLICA.replace("status:up", "status:down"), ReplicationStatus(False, "abc", 45)),
        (REPLICA.replace("progress:0", "progress:1"), ReplicationStatus(False, "abc", -1)),
        ("# Replication\r\nrole:sentinel\r\n", None),
        ("", None),
    ],
)
def test_info(reply: str, wanted: ReplicationStatus | None, decoded: bool) -> None:
    assert replication_status(HERE, reply if decoded else reply.encode()) == wanted


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (
            [b"master", 50, [[b"10.0.0.2", b"6379", b"40"]]],
            ReplicationStatus(True, "10.0.0.1:6379", 50),
        ),
        (
            ["slave", "10.0.0.1", 6379, "connected", 45],
            ReplicationStatus(False, "10.0.0.1:6379", 45),
        ),
        (
            [b"slave", b"fe80::1", 6379, b"connected", 45],
            ReplicationStatus(False, "[fe80::1]:6379", 45),
        ),
        ([b"slave", b"10.0.0.1", 6379, b"sync", -1], ReplicationStatus(False, "10.0.0.1:6379", -1)),
        ([b"sentinel", [b"cache-0"]], None),
        ([b"master"], None),
        ([b"slave", b"10.0.0.1", b"x", b"connected", 45], None),
        ([], None),
    ],
)
def test_role(reply: list[Any], wanted: ReplicationStatus | None) -> None:
    assert replication_status(HERE, reply) == wanted


@pytest.mark.parametrize("reply", [None, 7, ValueError("no"), {}, [None], b"\xff:\xff"])
def test_what_is_neither(reply: Any) -> None:
    assert replication_status(HERE, reply) is None


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (
            [b"master", 50, [[b"10.0.0.2", b"6379", b"40"], [b"10.0.0.3", b"0", b"7"]]],
            RoleReply(
                "master",
                50,
                replicas=((Address("10.0.0.2", 6379), 40), (Address("10.0.0.3", 0), 7)),
            ),
        ),
        (
            ["slave", "10.0.0.1", 6379, "connected", 45],
            RoleReply("replica", 45, HERE, "connected"),
        ),
        ([b"slave", b"10.0.0.1", 6379, b"sync", -1], RoleReply("replica", -1, HERE, "sync")),
        ([b"sentinel", [b"cache-0"]], RoleReply("sentinel")),
    ],
)
def test_role_replies(reply: list[Any], wanted: RoleReply) -> None:
    assert parse_role(reply) == wanted


@pytest.mark.parametrize(
    "reply",
    [
        None,
        [],
        [7],
        [b"proxy"],
        [b"master"],
        [b"master", 1, b"x"],
        [b"master", 1, [[b"10.0.0.2", b"6379"]]],
        [b"master", 2**63, []],
        [b"slave", b"10.0.0.1", 6379, b"connected"],
        [b"slave", b"10.0.0.1", 0, b"connected", 4],
        [b"slave", b"a b", 6379, b"connected", 4],
        [b"slave", b"10.0.0.1", 6379, b"x" * 300, 4],
        [b"slave", b"10.0.0.1", 6379, b"connected", b"9" * 5000],
    ],
)
def test_what_is_no_role_reply(reply: Any) -> None:
    with pytest.raises(ValueError, match=r"ROLE|Address") as refused:
        parse_role(reply)
    assert len(str(refused.value)) < 200


def test_any_section_of_info_is_fields() -> None:
    lines = "# Server\r\nredis_version:7.0.15\r\n\r\nexecutable:/a:b\r\nnonsense\r\n"
    assert dict(info_fields(lines)) == {"redis_version": "7.0.15", "executable": "/a:b"}
    assert list(info_fields(lines.encode())) == list(info_fields(lines))
