"""How `cachemesh up` and `cachemesh status` show a stack's info."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cachemesh.cli.tables import Cell


def address_list(addresses: Sequence[str]) -> Cell:
    """Return a cell with all addresses; its short form is their number."""
    return Cell(addresses, str(len(addresses)))


def info_fields(info: dict[str, Any]) -> list[tuple[str, object]]:
    """Return the names and values of `LocalStack.info` to show, without empty values."""
    names = ("pool", "url", "token_file", "metaservers", "sentinels", "zookeeper", "dashboard")
    found = [(name.replace("_", " "), info.get(name)) for name in (*names, "tls", "dir")]
    return [(name, value) for name, value in found if value]
