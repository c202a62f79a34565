"""Copies that a source has given up, and that may arrive yet.

A source whose MIGRATE has run out of time closes its connection to the target. Its kernel goes on
sending what was written before, for minutes where the network loses packets. If the key has been
pulled and deleted meanwhile, such a copy brings it back. It cannot once the target has ended its
own side of that connection: what then comes is answered by a reset.
"""

from __future__ import annotations

from collections.abc import Iterator

from cachemesh.core.client_list import listed_connections

_FLAGS = (b"N", b"b")  # none, or kept waiting by CLIENT PAUSE
_COMMANDS = frozenset({b"restore", b"restore-asking", b"select", b"auth", b"null"})


def may_bring_copies(listed: bytes) -> Iterator[int]:
    """Yield the ids of the connections of a target over which a source may be sending keys.

    A source gives its connection no name, and sends AUTH, SELECT and RESTORE alone. So connections
    of clients, metaservers and Sentinels, which have names, are none of these, and neither are
    those to replicas, which have a flag; but one that is just being opened may be. Where the
    source is healthy, or the connection is somebody else's, it is opened again.

    Args:
        listed: the reply to CLIENT LIST.
    """
    for each in listed_connections(listed):
        named = each.field(b"name") or each.field(b"lib-name")
        speaks = each.field(b"cmd").lower() in _COMMANDS and each.field(b"resp") != b"3"
        if each.field(b"flags") in _FLAGS and speaks and not named:
            yield each.id
