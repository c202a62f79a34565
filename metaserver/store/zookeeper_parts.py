"""The znodes that hold a store's tables: what is in them, and whether that can be used.

the head     the number of the last change, and what the last changes have written
the parts    the rows of the tables, those of a pool apart
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from kazoo.exceptions import NodeExistsError, NoNodeError

from cachemesh.discovery import zookeeper_layout as layout
from metaserver.store.damaged_parts import WHOLE, readable_rows, stand_in
from metaserver.store.errors import StorageError
from metaserver.store.replicated_tables import TABLES, Part, ReplicatedTables, Rows
from metaserver.store.sqlite_schema import SCHEMA_VERSION
from metaserver.store.zookeeper_head import Head, UnreadableHeadError
from metaserver.store.zookeeper_session import ZookeeperSession

log = logging.getLogger("metaserver")


class StoredParts:
    """The parts of the tables of one deployment, as ZooKeeper has them.

    Args:
        session: the connection.
        tables: those in memory, into which the rows have to fit.
    """

    def __init__(self, session: ZookeeperSession, tables: ReplicatedTables) -> None:
        self._session = session
        self._tables = tables

    def prepare(self) -> None:
        """Make what a new deployment lacks; refuse a chroot with something else in it."""
        there = set(self._session.call("get_children", "/"))
        ours = {path.strip("/") for path in (layout.HEAD, layout.LEADER, layout.METASERVERS)}
        foreign = there - ours - {layout.STORE.strip("/"), "zookeeper"}
        if foreign and layout.HEAD.strip("/") not in there:
            raise StorageError(
                f"ZooKeeper {self._session.options}: there is something else already "
                f"({', '.join(sorted(foreign))[:80]}); name another chroot"
            )
        for path in (layout.METASERVERS, layout.STORE, *map(layout.table_path, TABLES)):
            self._session.call("ensure_path", path)
        try:
            self._session.call("create", layout.HEAD, Head().encode())
            log.info("made a new deployment in ZooKeeper %s", self._session.options)
        except NodeExistsError:
            return

    def read_head(self, watch: Callable[[object], None]) -> tuple[Head, int]:
        """Return the head, and the version of its znode.

        Args:
            watch: called once the znode changes.

        Raises:
            StorageError: it cannot be used.
        """
        try:
            data, stat = self._session.call("get", layout.HEAD, watch=watch)
            head = Head.decode(data)
        except NoNodeError as error:
            raise self.broken(layout.HEAD, "it is gone") from error
        except UnreadableHeadError as error:
            raise self.broken(layout.HEAD, str(error)) from error
        if head.schema > SCHEMA_VERSION:
            raise StorageError(
                f"ZooKeeper {self._session.options} has schema {head.schema}, this release reads "
                f"up to {SCHEMA_VERSION}; upgrade cachemesh"
            )
        return head, stat.version

    def names(self) -> set[Part]:
        """Return every part that exists."""
        children = self._session.call_all("get_children", [layout.table_path(t) for t in TABLES])
        return {
            (table, unquote(name))
            for table, names in zip(TABLES, children, strict=True)
            for name in names or ()
        }

    def read(self, parts: Mapping[Part, Rows | None]) -> tuple[dict[Part, Rows], dict[Part, str]]:
        """Return parts with their rows, read where they are None; and why some cannot be read."""
        unread = [part for part, rows in parts.items() if rows is None]
        found: dict[Part, Rows] = {part: rows for part, rows in parts.items() if rows is not None}
        damaged: dict[Part, str] = {}
        read = self._session.call_all("get", [layout.part_path(*part) for part in unread])
        for part, result in zip(unread, read, strict=True):
            if result is None:
                found[part] = []
                continue
            try:
                found[part] = readable_rows(self._tables, part, result[0])
            except ValueError as error:
                if part[0] in WHOLE:
                    raise self.broken(layout.part_path(*part), str(error)) from error
                damaged[part] = str(error)
                found[part] = stand_in(part, result[0], self._tables.version_of(part[1]))
        return found, damaged

    def broken(self, path: str, reason: str) -> StorageError:
        """Return the error for a znode that cannot be used."""
        return StorageError(
            f"ZooKeeper {self._session.options}: {path} cannot be used: {reason}; it was changed "
            "by hand, or is of something else. Put back what was there, or restore to another "
            "chroot"
        )
