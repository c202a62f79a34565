"""The election of `ZookeeperStore`, and the live processes.

    /leader           ephemeral: whoever has made it may begin a term
    the table `lead`  the term, raised in one transaction with its owner
    /metaservers/...  ephemeral: a live process and its address

The session shows progress: kazoo's thread keeps it alive, and a process that is stopped loses it. A
leader gives its term up as soon as the connection is doubtful. What it writes later is refused,
since a later term has raised the epoch.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import unquote

from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError

from cachemesh.discovery import zookeeper_layout as layout
from metaserver.process.clock import rfc3339
from metaserver.store.errors import StorageError
from metaserver.store.leadership import Lead, Leader, Metaserver
from metaserver.store.zookeeper_database import ConflictError, ZookeeperDatabase

_LOOK_EVERY = 0.25  # seconds between two attempts to lead

log = logging.getLogger("metaserver")


class ZookeeperElection:
    """One process's part in the election.

    Args:
        owner: the `process_identity()` of the process.
    """

    def __init__(self, database: ZookeeperDatabase, owner: str) -> None:
        self._database = database
        self._session = database.session
        self._owner = owner
        self._term: Lead | None = None
        self._term_session: tuple[int | None, int] | None = None
        database.on_wake(self._look)

    def run(self, stop: threading.Event, lead: Callable[[Lead], None]) -> None:
        while not stop.is_set():
            epoch = self._elected()
            if epoch is None:
                stop.wait(_LOOK_EVERY)
            elif not self._serve(epoch, lead) and not stop.is_set():
                stop.wait(self._session.options.session_timeout)

    def leader(self) -> Leader | None:
        try:
            data, _stat = self._session.call("get", layout.LEADER)
        except NoNodeError:
            return None
        except KazooException as error:
            raise self._session.unavailable(type(error).__name__) from error
        with self._database.read() as db:
            epoch, owner, since = db.execute("SELECT epoch, owner, since FROM lead").fetchone()
        return Leader(owner, epoch, since) if data.decode() == owner else None

    def _elected(self) -> int | None:
        """Return the number of the term that this process has just begun; None: it has not."""
        if not self._session.connected:
            return None
        self._term_session = self._session.id, self._session.sessions
        try:
            if self._another_leads():
                return None
            self._session.call("create", layout.LEADER, self._owner.encode(), ephemeral=True)
        except NodeExistsError:
            return None
        except (StorageError, KazooException) as error:
            log.warning("electing a leader: %s", error)
            return None
        for _ in range(20):
            try:
                with self._database.write() as db:
                    (epoch,) = db.execute("SELECT epoch FROM lead").fetchone()
                    db.execute(
                        "UPDATE lead SET epoch = ?, owner = ?, since = ?",
                        (epoch + 1, self._owner, rfc3339()),
                    )
                return int(epoch) + 1
            except ConflictError:
                continue
            except StorageError as error:
                log.error("electing a leader: %s", error)
                break
        self._withdraw()
        return None

    def _another_leads(self) -> bool:
        """Return whether another one leads; removes the znode of an earlier term of this session.

        What should have ended it may have got no answer.
        """
        try:
            data, stat = self._session.call("get", layout.LEADER)
        except NoNodeError:
            return False
        if data.decode() == self._owner and stat.owner_session_id == self._session.id:
            self._session.call("delete", layout.LEADER, version=stat.version)
            return False
        return True

    def _serve(self, epoch: int, lead: Callable[[Lead], None]) -> bool:
        """Lead for one term, and return whether the term was lost, not given away."""
        self._term = term = Lead(epoch, threading.Event())
        self._look()
        try:
            lead(term)
        finally:
            lost = term.lost.is_set()
            self._term = None
            term.lost.set()
            self._withdraw()
        return lost

    def _look(self) -> None:
        """Give the term up if the connection is doubtful, or the session another one."""
        term = self._term
        if term is None or term.lost.is_set():
            return
        now = self._session.id, self._session.sessions
        if not self._session.connected or now != self._term_session:
            log.error("the lead is lost: no connection to ZooKeeper %s", self._session.options)
            term.lost.set()

    def _withdraw(self) -> None:
        """Free the lead, so that others need not wait for the end of this session."""
        try:
            self._another_leads()
        except (StorageError, KazooException) as error:
            log.warning("giving the lead away: %s", error)


class ZookeeperMembers:
    """The live processes of a deployment; registers this one again in each new session."""

    def __init__(self, database: ZookeeperDatabase) -> None:
        self._database = database
        self._session = database.session
        self._own: dict[str, Metaserver] = {}
        self._known: tuple[Metaserver, ...] = ()
        self._stale = threading.Event()
        self._stale.set()
        self._sessions = -1
        database.on_wake(self._look)

    def register(self, owner: str, address: str) -> None:
        """Add a process, until the session ends."""
        self._own[owner] = Metaserver(owner, address, rfc3339())
        self._keep_registered()

    def all(self) -> tuple[Metaserver, ...]:
        """Return the live processes, oldest first; without a connection those last known."""
        if self._stale.is_set() and self._session.connected:
            self._read()
        return self._known

    def _look(self) -> None:
        if not self._session.connected:
            return
        if self._sessions != self._session.sessions:
            self._stale.set()
            self._keep_registered()
            self._sessions = self._session.sessions

    def _keep_registered(self) -> None:
        for own in list(self._own.values()):
            path, data = layout.metaserver_path(own.owner), json.dumps(asdict(own)).encode()
            try:
                try:
                    found, stat = self._session.call("get", path)
                    if stat.owner_session_id == self._session.id and found == data:
                        continue
                    self._session.call("delete", path)  # with an earlier address or session
                except NoNodeError:
                    pass
                self._session.call("create", path, data, ephemeral=True)
            except NodeExistsError:
                continue  # another thread of this process was faster
            except KazooException as error:
                raise self._session.unavailable(type(error).__name__) from error
        self._stale.set()

    def _read(self) -> None:
        self._stale.clear()
        try:
            names = self._session.call("get_children", layout.METASERVERS, watch=self._seen)
            found = self._session.call_all(
                "get", [layout.metaserver_path(unquote(name)) for name in names]
            )
            every = [_entry(name, each) for name, each in zip(names, found, strict=True)]
        except KazooException as error:
            self._stale.set()
            raise self._session.unavailable(type(error).__name__) from error
        except StorageError:
            self._stale.set()
            raise
        known = [each for each in every if each is not None]
        self._known = tuple(sorted(known, key=lambda each: (each.since, each.owner)))

    def _seen(self, _event: object) -> None:
        self._stale.set()
        self._database.wake()


def _entry(name: str, found: Any) -> Metaserver | None:
    """Return the metaserver of a znode; None if it is gone, or no metaserver has made it."""
    if found is None:
        return None
    try:
        entry = Metaserver(**json.loads(found[0]))
    except (ValueError, TypeError):
        entry = None
    if entry is None or not all(isinstance(text, str) for text in vars(entry).values()):
        log.error("%s/%s was made by no metaserver; delete it", layout.METASERVERS, name)
        return None
    return entry
