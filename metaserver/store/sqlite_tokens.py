"""The tokens of `SqliteStore`."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import replace

from metaserver.domain.audit_log import NewEvent
from metaserver.process.clock import rfc3339
from metaserver.store import Role, Token, sqlite_rows
from metaserver.store.sqlite_connection import Transactions

_LASTING_ADMIN = "role = 'admin' AND pools IS NULL AND expires IS NULL"


class SqliteTokens:
    """The `TokenStore` part of a store in `_database`."""

    _database: Transactions

    def add_token(
        self,
        name: str,
        role: Role,
        digest: str,
        event: NewEvent,
        *,
        pools: tuple[str, ...] | None = None,
        expires: str | None = None,
    ) -> Token | None:
        token = Token(secrets.token_hex(6), name, role, rfc3339(), None, pools, expires)
        kept = None if pools is None else json.dumps(pools)
        with self._database.write() as db:
            if db.execute("SELECT 1 FROM tokens WHERE name = ?", (name,)).fetchone():
                return None
            db.execute(
                f"INSERT INTO tokens (digest, {sqlite_rows.TOKEN}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (digest, token.id, name, role, token.created, None, kept, expires),
            )
            sqlite_rows.log(db, event, target=token.id)
            return token

    def tokens(self) -> tuple[Token, ...]:
        return tuple(self.token_digests().values())

    def token_digests(self) -> Mapping[str, Token]:
        with self._database.read() as db:
            return _by_digest(db)

    def former_digests(self) -> Mapping[str, Token]:
        with self._database.read() as db:
            tokens = {token.id: token for token in _by_digest(db).values()}
            rows = db.execute("SELECT digest, token, until FROM former_digests").fetchall()
            return {digest: replace(tokens[of], expires=until) for digest, of, until in rows}

    def rotate_token(self, token_id: str, digest: str, until: str, event: NewEvent) -> Token | None:
        with self._database.write() as db:
            found = {token.id: (old, token) for old, token in _by_digest(db).items()}.get(token_id)
            if found is None:
                return None
            old, token = found
            if token.expires is not None:
                until = min(until, token.expires)
            db.execute("DELETE FROM former_digests WHERE until <= ?", (rfc3339(),))
            db.execute("INSERT INTO former_digests VALUES (?, ?, ?)", (old, token_id, until))
            db.execute("UPDATE tokens SET digest = ? WHERE id = ?", (digest, token_id))
            sqlite_rows.log(db, event, target=token_id)
            return token

    def revoke_token(self, token_id: str, event: NewEvent) -> bool:
        with self._database.write() as db:
            done = db.execute(
                f"DELETE FROM tokens WHERE id = ? AND (NOT ({_LASTING_ADMIN}) OR"
                f" (SELECT count(*) FROM tokens WHERE {_LASTING_ADMIN}) > 1)",
                (token_id,),
            )
            if not done.rowcount:
                return False
            db.execute("DELETE FROM former_digests WHERE token = ?", (token_id,))
            sqlite_rows.log(db, event)
            return True

    def touch_tokens(self, used: Mapping[str, str]) -> None:
        with self._database.write() as db:
            db.executemany(
                "UPDATE tokens SET last_used = ? WHERE id = ?",
                [(at, token_id) for token_id, at in used.items()],
            )


def _by_digest(db: sqlite3.Connection) -> dict[str, Token]:
    """Return every token by the digest of its text, oldest first."""
    rows = db.execute(f"SELECT digest, {sqlite_rows.TOKEN} FROM tokens ORDER BY created, rowid")
    return {
        digest: Token(
            of, name, role, created, used, None if pools is None else tuple(json.loads(pools)), ends
        )
        for digest, of, name, role, created, used, pools, ends in rows.fetchall()
    }
