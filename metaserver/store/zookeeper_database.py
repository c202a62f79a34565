"""The transactions of `ZookeeperStore`: tables in memory, kept and shared by ZooKeeper.

    read    the tables in memory, also while ZooKeeper cannot be reached
    write   in the tables in memory, rolled back --> one transaction in ZooKeeper, at the version
            of the head that is in memory --> applied in memory
    follow  a thread reads the head after each change of any process, and applies what is new

A write that another process was faster than raises ConflictError: it has decided on old rows, and
is made again. `ZookeeperStore` does that.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager

from kazoo.exceptions import (
    BadVersionError,
    KazooException,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
)

from cachemesh.discovery import zookeeper_layout as layout
from metaserver.process.config import ZookeeperOptions
from metaserver.store.damaged_parts import unreadable
from metaserver.store.errors import StorageError, UnsureError
from metaserver.store.replicated_tables import (
    Change,
    Part,
    ReplicatedTables,
    Rows,
    encode_rows,
)
from metaserver.store.zookeeper_head import Head
from metaserver.store.zookeeper_parts import StoredParts
from metaserver.store.zookeeper_session import (
    BOUND,
    NoAnswerError,
    Wakeable,
    ZookeeperSession,
)

MAX_BYTES = 900_000  # of a transaction; ZooKeeper takes up to 1 MiB (jute.maxbuffer)
_LOOK_EVERY = 5.0  # seconds between two looks at the head, should a watch be lost
_LOADS = 20  # reads in a row of what the head does not tell, while others write
_UNSURE_FOR = 5.0  # seconds to find out whether a transaction without an answer was made

log = logging.getLogger("metaserver")


class ConflictError(StorageError):
    """Another process has changed the data since this one has read it; nothing was changed."""


class ZookeeperDatabase:
    """The tables of one deployment.

    Raises:
        StorageError: the ensemble does not answer, or what is there is no deployment.
    """

    def __init__(self, options: ZookeeperOptions) -> None:
        self._tables = ReplicatedTables()
        self._wake = Wakeable()
        self._stop = threading.Event()
        self._writing = threading.RLock()  # also held while new changes are applied
        self._head = Head()
        self._version = -1  # of the znode that the head was read from
        self._parts: set[Part] = set()  # that exist in ZooKeeper
        self._damaged: dict[Part, str] = {}  # those of them that cannot be read, and why
        self._mended = 0  # parts that could be read again
        self._listeners: list[Callable[[], None]] = []
        self.session = ZookeeperSession(options, self._wake.set)
        self._stored = StoredParts(self.session, self._tables)
        try:
            self._stored.prepare()
            with self._writing:
                self._catch_up()
        except KazooException as error:
            self.session.close()
            raise self.session.unavailable(type(error).__name__) from error
        except StorageError:
            self.session.close()
            raise
        self._thread = threading.Thread(target=self._follow, name="zookeeper", daemon=True)
        self._thread.start()

    def on_wake(self, listener: Callable[[], None]) -> None:
        """Have a function called after each change of the data or of the connection, in one thread.

        A StorageError that it raises is logged.
        """
        self._listeners.append(listener)
        self._wake.set()

    def wake(self) -> None:
        """Have the listeners called soon."""
        self._wake.set()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Begin a transaction that reads what is known, also without a connection."""
        with self._tables.read() as db:
            yield db

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Begin a transaction that writes.

        Raises:
            ConflictError: another process was faster.
            UnsureError: whether it was committed is not known.
            StorageError: nothing was changed.
        """
        with self.turn():
            with self._tables.draft() as (db, drafted):
                yield db
            for change in drafted:
                self._commit(change)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the lock of writers; a write whose turn does not come soon is refused.

        Otherwise each of those that wait would wait for all before it, while ZooKeeper hangs.

        Raises:
            StorageError: nothing was changed.
        """
        if not self.session.connected:
            raise self.session.unavailable("it is not connected")
        if not self._writing.acquire(timeout=BOUND):
            raise self.session.unavailable("earlier changes have got no answer yet")
        try:
            if not self.session.connected:
                raise self.session.unavailable("it is not connected")
            yield
        finally:
            self._writing.release()

    def _commit(self, change: Change) -> None:
        """Commit a change at the head in memory, and apply it. The caller holds the lock."""
        mark = uuid.uuid4().hex
        head = self._head.after(mark, change.parts, change.sequences)
        transaction = self.session.transaction()
        encoded = head.encode()
        size = len(encoded)
        transaction.set_data(layout.HEAD, encoded, version=self._version)
        for part, rows in change.parts.items():
            path, data = layout.part_path(*part), encode_rows(rows)
            size += len(data) + len(path)
            if not rows and part in self._parts:
                transaction.delete(path)
            elif rows and part in self._parts:
                transaction.set_data(path, data)
            elif rows:
                transaction.create(path, data)
        if size > MAX_BYTES:
            raise StorageError(
                f"ZooKeeper {self.session.options}: a change of {size} bytes is more than fits "
                f"into one transaction ({MAX_BYTES}); make the pool's document smaller"
            )
        try:
            results = self.session.commit(transaction)
        except NoAnswerError as error:
            if self._was_made(mark):
                return
            raise UnsureError(
                f"ZooKeeper {self.session.options} has not answered; look whether the change was "
                "made before you repeat it"
            ) from error
        except KazooException as error:
            raise self.session.unavailable(type(error).__name__) from error
        self._refuse_conflict(results)
        self._version += 1
        self._accept(head, change.parts)

    def _refuse_conflict(self, results: list[object]) -> None:
        for result in results:
            if isinstance(result, RolledBackError) or not isinstance(result, Exception):
                continue
            if isinstance(result, (BadVersionError, NoNodeError, NodeExistsError)):
                if not isinstance(result, BadVersionError):
                    self._version = -1  # what is there is not what this process believes
                self._catch_up_now()
                raise ConflictError(
                    f"ZooKeeper {self.session.options}: other processes change the data all the "
                    "time; try again"
                )
            if isinstance(result, KazooException) and "Runtime" not in type(result).__name__:
                raise self.session.unavailable(type(result).__name__) from result

    def _catch_up_now(self) -> None:
        """Read the head as of now, not as of what this process's server has heard so far."""
        try:
            self.session.call("sync", layout.HEAD)
            self._catch_up()
        except KazooException as error:
            raise self.session.unavailable(type(error).__name__) from error

    def _was_made(self, mark: str) -> bool:
        """Return whether a transaction without an answer was made; False: that cannot be told.

        Raises:
            ConflictError: it was not made.
        """
        known = self._head.id
        deadline = time.monotonic() + _UNSURE_FOR
        while time.monotonic() < deadline and not self._stop.wait(0.25):
            if not self.session.connected:
                continue
            try:
                self._catch_up_now()
            except StorageError:
                continue
            if self._head.has(mark):
                return True
            if self._head.since(known) is None:
                return False  # so many changes later, the head does not go back so far
            raise ConflictError(
                f"ZooKeeper {self.session.options}: the connection broke; try again"
            )
        return False

    def _catch_up(self) -> None:
        """Apply what the head tells. The caller holds the lock.

        What is read is of some moment after the head was. The next head tells what has changed
        since, with the rows: together with those, it is exactly what there was at the next head. So
        others may write all the time.

        Raises:
            StorageError, KazooException: the rest is applied at a later call.
        """
        head, version = self._stored.read_head(self._seen)
        if version == self._version:
            return
        known = self._head.id if self._version >= 0 else None
        parts: dict[Part, Rows] = {}
        damaged: dict[Part, str] = {}
        for _ in range(_LOADS):
            missed = None if known is None else head.since(known)
            if missed is None:
                everything = self._stored.names()
                parts = {part: [] for part in self._parts - everything}
                found, damaged = self._stored.read(dict.fromkeys(everything))
                parts |= found
            else:
                found, unreadable_now = self._stored.read(missed)
                parts |= found
                damaged = {part: why for part, why in damaged.items() if part not in found}
                damaged |= unreadable_now
                if None not in missed.values():
                    self._accept(head, parts, damaged)
                    self._version = version  # last: who could not apply it all may not write
                    return
            known = head.id
            head, version = self._stored.read_head(self._seen)
        raise StorageError(
            f"ZooKeeper {self.session.options}: other processes change the data all the time; "
            "try again"
        )

    def _seen(self, _event: object) -> None:
        self._wake.set()

    def _accept(
        self, head: Head, parts: Mapping[Part, Rows], damaged: Mapping[Part, str] | None = None
    ) -> None:
        """Take parts over that are in ZooKeeper as of `head`, those that are damaged aside."""
        try:
            self._tables.apply(Change(parts, head.sequences or {}))
        except (sqlite3.Error, TypeError, KeyError) as error:
            where = ", ".join(layout.part_path(*part) for part in parts)
            raise self._stored.broken(
                where[:200], f"a row does not fit its table ({error})"
            ) from error
        self._head = head
        for part, rows in parts.items():
            self._damaged.pop(part, None)
            (self._parts.add if rows else self._parts.discard)(part)
        for part, reason in (damaged or {}).items():
            self._damaged[part] = reason
            self._parts.add(part)
            log.error("%s", unreadable(self.session.options, part, reason))

    def damaged(self) -> dict[Part, str]:
        """Return the parts that were changed into something unreadable, with an error for each."""
        options = self.session.options
        return {part: unreadable(options, part, why) for part, why in self._damaged.items()}

    def _look_at_damaged(self) -> None:
        """Take over what was put right by hand. The caller holds the lock."""
        parts, damaged = self._stored.read(dict.fromkeys(self._damaged))
        gone = {part for part, rows in parts.items() if part[0] == "pools" and not rows}
        for part in parts.keys() - damaged.keys() - gone:  # a pool's version must not be forgotten
            log.info("%s can be used again", layout.part_path(*part))
            self._accept(self._head, {part: parts[part]})
            self._mended += 1

    def _follow(self) -> None:
        """Apply the changes of all processes, until the store is closed."""
        failing = False
        while not self._stop.is_set():
            self._wake.wait_and_clear(_LOOK_EVERY)
            if self._stop.is_set() or not self.session.connected:
                self._call_listeners()
                continue
            try:
                with self._writing:
                    self._catch_up()
                    self._look_at_damaged()
                failing = False
            except (StorageError, KazooException) as error:
                if not failing and self.session.connected:
                    log.error("following ZooKeeper: %s", error)
                failing = True
                self._stop.wait(0.5)
                self._wake.set()
            self._call_listeners()

    def _call_listeners(self) -> None:
        for listener in list(self._listeners):
            try:
                listener()
            except (StorageError, KazooException) as error:
                if self.session.connected and not self._stop.is_set():
                    log.warning("ZooKeeper: %s", error)

    def change_marker(self) -> Hashable:
        """Return a value that differs after each change."""
        return self._head.id, self._mended

    def check_writable(self) -> None:
        """Raise StorageError unless a change could be committed."""
        with self.turn():
            transaction = self.session.transaction()
            transaction.check(layout.HEAD, self._version)
            try:
                self._refuse_conflict(self.session.commit(transaction))
            except ConflictError:
                return  # others write
            except KazooException as error:
                raise self.session.unavailable(type(error).__name__) from error

    def close(self) -> None:
        """End the session. Idempotent."""
        self._stop.set()
        self._wake.set()
        self._thread.join(5.0)
        self.session.close()
        self._tables.close()
