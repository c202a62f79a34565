"""The tokens of `SqliteStore`."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from metaserver.domain.audit_log import NewEvent
from metaserver.process.clock import rfc3339
from metaserver.store import Role, Token, sqlite_rows
from metaserver.store.sqlite_connection import Transactions


class SqliteTokens:
    """The `TokenStore` part of a store in `_database`."""

    _database: Transactions

    def add_token(self, name: str, role: Role, digest: str, event: NewEvent) -> Token | None:
        token = Token(secrets.token_hex(6), name, role, rfc3339(), None)
        with self._database.write() as db:
            if db.execute("SELECT 1 FROM tokens WHERE name = ?", (name,)).fetchone():
                return None
            db.execute(
                f"INSERT INTO tokens (digest, {sqlite_rows.TOKEN}) VALUES (?, ?, ?, ?, ?, ?)",
                (digest, token.id, token.name, token.role, token.created, token.last_used),
            )
            sqlite_rows.log(db, event, target=token.id)
            return token

    def tokens(self) -> tuple[Token, ...]:
        return tuple(self.token_digests().values())

    def token_digests(self) -> Mapping[str, Token]:
        with self._database.read() as db:
            found = db.execute(
                f"SELECT digest, {sqlite_rows.TOKEN} FROM tokens ORDER BY created, rowid"
            )
            return {digest: Token(*values) for digest, *values in found.fetchall()}

    def revoke_token(self, token_id: str, event: NewEvent) -> bool:
        with self._database.write() as db:
            done = db.execute(
                "DELETE FROM tokens WHERE id = ? AND (role <> 'admin' OR"
                " (SELECT count(*) FROM tokens WHERE role = 'admin') > 1)",
                (token_id,),
            )
            if not done.rowcount:
                return False
            sqlite_rows.log(db, event)
            return True

    def touch_tokens(self, used: Mapping[str, str]) -> None:
        with self._database.write() as db:
            db.executemany(
                "UPDATE tokens SET last_used = ? WHERE id = ?",
                [(at, token_id) for token_id, at in used.items()],
            )
