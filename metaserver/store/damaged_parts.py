"""Parts of a deployment that were changed by hand into something that no metaserver has written.

Such a part harms what it is about, a pool or an entry of a table, and nothing else.
"""

from __future__ import annotations

import json
import re

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.zookeeper_layout import part_path
from metaserver.store.replicated_tables import Part, ReplicatedTables, Rows, decode_rows

_JSON_COLUMNS = {
    "acks": ("lowest",),
    "events": ("before", "after"),
    "failovers": ("sentinels", "notes"),
    "intents": ("sentinels",),
    "progress": ("published",),
    "seen": ("seen",),
    "tokens": ("pools",),
}
_VERSION = re.compile(rb'version\\?"\s*:\s*(\d{1,15})')
WHOLE = ("lead",)
"""Tables without which a deployment cannot go on: an epoch that falls would let two lead."""


def readable_rows(tables: ReplicatedTables, part: Part, data: bytes) -> Rows:
    """Return the rows in a znode, checked to be what a metaserver writes there.

    Raises:
        ValueError: they are not; says why.
    """
    table, name = part
    try:
        rows = decode_rows(data)
    except ValueError as error:
        raise ValueError("it is no JSON of rows") from error
    if table == "pools":
        _check_pool(name, rows)
    for column in _JSON_COLUMNS.get(table, ()):
        for text in (row.get(column) for row in rows):
            try:
                json.loads(text) if text is not None else None
            except (ValueError, TypeError) as error:
                raise ValueError(f"its column {column} is no JSON") from error
    reason = tables.misfit(part, rows)
    if reason is not None:
        raise ValueError(reason)
    return rows


def _check_pool(name: str, rows: Rows) -> None:
    if len(rows) != 1 or rows[0].get("name") != name:
        raise ValueError("it is not one row with the pool's name")
    version, text = rows[0].get("version"), rows[0].get("document")
    if type(version) is not int or version < 1:
        raise ValueError("its version is no number above 0")
    if text is None:
        return
    try:
        document = PoolDocument.from_json(text)
    except (InvalidDocumentError, TypeError) as error:
        raise ValueError(f"it holds no pool document: {error}") from error
    if (document.pool, document.version) != (name, version):
        raise ValueError(f"it holds version {document.version} of pool {document.pool!r}")


def stand_in(part: Part, data: bytes, known_version: int) -> Rows:
    """Return rows in place of a damaged part: of a pool, one without a document.

    Its version is the highest that can be made out, so that the next one is above.

    Args:
        known_version: the version of the pool in memory, 0 without one.
    """
    table, name = part
    if table != "pools":
        return []
    found = [int(digits) for digits in _VERSION.findall(data)]
    version = max([1, known_version, *found])
    return [{"name": name, "version": version, "document": None}]


def unreadable(where: object, part: Part, reason: str) -> str:
    """Return the error for a damaged part: what it harms, why, and what to do.

    Args:
        where: the ensemble and the chroot.
    """
    table, name = part
    what, step = f"an entry of the table {table}", ""
    if table == "pools":
        what = f"pool {name!r}"
        step = ", or restore a backup or a client's snapshot with cachemesh store restore"
    return (
        f"ZooKeeper {where}: {what} cannot be used, as {part_path(*part)} was changed by hand: "
        f"{reason:.200}; put back what was there{step}"
    )
