"""Where a deployment keeps what in ZooKeeper, below its chroot.

/head                   number of the last change, and what the last changes have written
/leader                 of the process that leads; ephemeral
/metaservers/OWNER      address of a live metaserver; ephemeral
/store/TABLE/PART       some rows of a table, as JSON; of `pools`, one pool by its name
"""

from __future__ import annotations

import re
from urllib.parse import quote

CHROOT = "/cachemesh"
"""The chroot of a deployment that is given none."""

CHROOT_PATTERN = re.compile(r"(/[A-Za-z0-9._-]+)+")
"""What a chroot looks like."""

HEAD = "/head"
LEADER = "/leader"
METASERVERS = "/metaservers"
STORE = "/store"


def metaserver_path(owner: str) -> str:
    """Return the path of a metaserver's address, by its process identity."""
    return f"{METASERVERS}/{quote(owner, safe='')}"


def table_path(table: str) -> str:
    """Return the path of a table's parts."""
    return f"{STORE}/{table}"


def part_path(table: str, part: str) -> str:
    """Return the path of a part of a table."""
    return f"{table_path(table)}/{quote(part, safe='')}"


def pool_path(pool: str) -> str:
    """Return the path of a pool: one row, an object with `name`, `version` and `document`."""
    return part_path("pools", pool)
