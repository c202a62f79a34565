"""The election of `SqliteStore`: terms in the database, beats in a file beside it.

    FILE        epoch and owner of the term; a later term begins in one transaction
    FILE.beat   the epoch, and a number that its leader raises

A beat is no change of the data: it takes no commit to disk, wakes nobody, and needs no room. After
a crash of the machine its file means nothing, which is no loss: only that it changes counts.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path

from metaserver.process.clock import rfc3339
from metaserver.process.identity import known_dead
from metaserver.store.errors import LostLeadError, StorageError
from metaserver.store.leadership import Lead, Leader, Metaserver
from metaserver.store.sqlite_connection import Database, Transactions

_BEATS = 6  # in a session timeout
_LOOKS = 24  # of others at the leader's beat, in a session timeout
_BEAT = struct.Struct(">QQ")

log = logging.getLogger("metaserver")


class FencedDatabase:
    """The transactions of one term on a database: writes are refused once a later term began."""

    def __init__(self, database: Transactions, epoch: int) -> None:
        self._database = database
        self._epoch = epoch
        self.read = database.read

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Begin a transaction that writes.

        Raises:
            LostLeadError: a later term has begun.
            StorageError: as `Database.write`.
        """
        with self._database.write() as db:
            (epoch,) = db.execute("SELECT epoch FROM lead").fetchone()
            if epoch != self._epoch:
                raise LostLeadError(
                    f"Term {self._epoch} is over, another process leads since (term {epoch}); "
                    "nothing is to be done"
                )
            yield db

    def change_marker(self) -> Hashable:
        """Return a value that differs after each change."""
        return self._database.change_marker()

    def check_writable(self) -> None:
        """Raise StorageError unless a row can be written and committed in this term."""
        with self.write():
            pass
        self._database.check_writable()

    def close(self) -> None:
        """Do nothing: the database is closed by its own store."""


class SqliteElection:
    """One process's part in the election.

    Args:
        owner: the `process_identity()` of the process.
        session_timeout: seconds without a beat after which another process may lead.
    """

    def __init__(self, database: Database, owner: str, session_timeout: float) -> None:
        self._database = database
        self._owner = owner
        self._session_timeout = session_timeout
        self._beats = BeatFile(database.path.with_name(f"{database.path.name}.beat"))
        self._failing = False

    def run(self, stop: threading.Event, lead: Callable[[Lead], None]) -> None:
        silence = Silence(self._beats)
        while not stop.is_set():
            epoch = self._elected(silence)
            if epoch is None:
                stop.wait(self._session_timeout / _LOOKS)
            elif not self._serve(epoch, lead) and not stop.is_set():
                stop.wait(self._session_timeout)

    def leader(self) -> Leader | None:
        with self._database.read() as db:
            epoch, owner, since = _term(db)
        return None if not owner or known_dead(owner) else Leader(owner, epoch, since)

    def _elected(self, silence: Silence) -> int | None:
        """Return the number of the term that this process has just begun; None: it has not."""
        try:
            with self._database.read() as db:
                epoch, owner, _since = _term(db)
            silent = silence.of(epoch) >= self._session_timeout
            if not (silent or owner in ("", self._owner) or known_dead(owner)):
                self._failing = False
                return None
            with self._database.write() as db:
                begun = db.execute(
                    "UPDATE lead SET epoch = epoch + 1, owner = ?, since = ? WHERE epoch = ?",
                    (self._owner, rfc3339(), epoch),
                )
                won = begun.rowcount > 0
        except StorageError as error:
            if not self._failing:
                log.error("electing a leader: %s", error)
            self._failing = True
            return None
        self._failing = False
        return epoch + 1 if won else None

    def _serve(self, epoch: int, lead: Callable[[Lead], None]) -> bool:
        """Lead for one term, and return whether the term was lost, not given away."""
        term = Lead(epoch, threading.Event())
        over = threading.Event()
        beating = threading.Thread(target=self._beat, args=(term, over), name="beat", daemon=True)
        beating.start()
        try:
            lead(term)
        finally:
            over.set()
            lost = term.lost.is_set()
            term.lost.set()
            beating.join()
            if not lost:
                self._give_away(epoch)
        return lost

    def _beat(self, term: Lead, over: threading.Event) -> None:
        """Show progress until the term is over; set `lost` if others may lead, or one does."""
        last = time.monotonic()
        number = 0
        while not over.is_set():
            began = time.monotonic()
            if began - last >= self._session_timeout:
                log.error("the lead is lost: no sign of progress for %.1f s", began - last)
                break
            try:
                with self._database.read() as db:
                    epoch, owner, _since = _term(db)
                if (epoch, owner) != (term.epoch, self._owner):
                    log.error("the lead is lost: another process leads, in term %d", epoch)
                    break
                self._beats.write(term.epoch, number)
                last, number = began, number + 1
            except (StorageError, OSError) as error:
                log.error("showing that this process leads: %s", error)
            over.wait(self._session_timeout / _BEATS)
        term.lost.set()

    def _give_away(self, epoch: int) -> None:
        """End the term, so that others need not wait until they miss it."""
        try:
            with self._database.write() as db:
                db.execute("UPDATE lead SET owner = '' WHERE epoch = ?", (epoch,))
        except StorageError as error:
            log.error("giving the lead away: %s", error)


class BeatFile:
    """The file in which the leader shows that it makes progress."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, epoch: int, number: int) -> None:
        """Show a beat; raises OSError."""
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(file, _BEAT.pack(epoch, number), 0)
        finally:
            os.close(file)

    def read(self) -> tuple[int, int] | None:
        """Return the last beat, epoch and number; None if there was none yet."""
        try:
            return _BEAT.unpack(self._path.read_bytes())
        except (OSError, struct.error):
            return None


class Silence:
    """For how long this process has seen no beat of a term, by its monotonic clock."""

    def __init__(self, beats: BeatFile, clock: Callable[[], float] = time.monotonic) -> None:
        self._beats = beats
        self._clock = clock
        self._last: tuple[int, tuple[int, int] | None] = (-1, None)
        self._since = clock()

    def of(self, epoch: int) -> float:
        """Return the seconds since the last beat of this term, or since the first look at it."""
        beat = self._beats.read()
        seen = (epoch, beat if beat is not None and beat[0] == epoch else None)
        if seen != self._last:
            self._last, self._since = seen, self._clock()
        return self._clock() - self._since


class SqliteMembers:
    """The registered processes of a store in `_database`."""

    _database: Transactions

    def register(self, owner: str, address: str) -> None:
        with self._database.write() as db:
            known = db.execute("SELECT owner, address FROM metaservers").fetchall()
            # Of two processes of one address, the earlier one has ended, on whatever host.
            gone = [(other,) for other, at in known if at == address or known_dead(other)]
            db.executemany("DELETE FROM metaservers WHERE owner = ?", gone)
            db.execute(
                "INSERT INTO metaservers VALUES (?, ?, ?) ON CONFLICT (owner)"
                " DO UPDATE SET address = excluded.address",
                (owner, address, rfc3339()),
            )

    def metaservers(self) -> tuple[Metaserver, ...]:
        with self._database.read() as db:
            found = db.execute("SELECT owner, address, since FROM metaservers ORDER BY rowid")
            every = [Metaserver(*row) for row in found.fetchall()]
        return tuple(each for each in every if not known_dead(each.owner))


def _term(db: sqlite3.Connection) -> tuple[int, str, str]:
    epoch, owner, since = db.execute("SELECT epoch, owner, since FROM lead").fetchone()
    return int(epoch), str(owner), str(since)
