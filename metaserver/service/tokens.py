"""Bearer tokens: creating, listing, revoking and recognising them. No store has their text."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from cachemesh.core.names import check_name
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.errors import RequestRefused
from metaserver.process.clock import rfc3339
from metaserver.service.context import log
from metaserver.store import Role, StorageError, Store, Token

FIRST_ADMIN = "admin"
_SHORTEST = 20  # characters of a token that was made elsewhere


def digest_of(text: str) -> str:
    """Return the SHA-256 of a token's text, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Tokens:
    """The tokens in a store; greenlets may share this object."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._used: dict[str, str] = {}
        self._marker: Hashable = None
        self._digests: Mapping[str, Token] = {}

    def on(self, store: Store) -> Tokens:
        """Return the same tokens, changed through another view of the store."""
        return Tokens(store)

    def recognise(self, text: str) -> Token | None:
        """Return the token with this text, or None, in a time that does not depend on the text.

        A text that was replaced is recognised until its end, which is the token's `expires` then.

        Raises:
            StorageError: the tokens cannot be read.
        """
        given = digest_of(text)
        found = None
        for digest, token in self._known().items():
            if hmac.compare_digest(digest, given):
                found = token
        if found is not None and _has_ended(found):
            return None
        if found is not None:
            with self._lock:
                self._used[found.id] = rfc3339()
        return found

    def _known(self) -> Mapping[str, Token]:
        """Return the tokens by digest; they are read again only after a change of the store."""
        marker = self._store.change_marker()
        if marker != self._marker:
            self._digests = {**self._store.former_digests(), **self._store.token_digests()}
            self._marker = marker
        return self._digests

    def still_good(self, token: Token) -> bool:
        """Return whether a token that was recognised has neither ended nor been revoked.

        Raises:
            StorageError: the tokens cannot be read.
        """
        return not _has_ended(token) and any(each.id == token.id for each in self._known().values())

    def create(
        self,
        actor: str,
        name: str,
        role: Role,
        *,
        pools: Sequence[str] | None = None,
        expires_in: float | None = None,
    ) -> tuple[Token, str]:
        """Create a token, and return it with its text, which is nowhere else.

        Args:
            pools: the only pools that the token is good for; None: all.
            expires_in: seconds for which the token is good; None: for ever.

        Raises:
            RequestRefused: token-exists.
            InvalidDocumentError: a name is not valid.
            StorageError: there is no new token.
        """
        check_name("token", name)
        only = None if pools is None else tuple(check_name("pool", pool) for pool in pools)
        expires = None if expires_in is None else rfc3339(time.time() + expires_in)
        text = secrets.token_urlsafe(32)
        what = f"{role} token {name}{_limits_in_words(only, expires)}"
        event = NewEvent("token.create", actor, detail=f"create {what}")
        token = self._store.add_token(
            name, role, digest_of(text), event, pools=only, expires=expires
        )
        if token is None:
            raise RequestRefused(
                "token-exists", f"There is a token named {name!r} already", "choose another name"
            )
        log.info("token.create by %s: %s", actor, what)
        return token, text

    def rotate(self, actor: str, token_id: str, overlap: float) -> tuple[Token, str, str]:
        """Give a token another text.

        Args:
            overlap: seconds for which the text from before is good too, if the token is.

        Returns:
            The token, its text, which is nowhere else, and when the text from before ends.

        Raises:
            RequestRefused: token-not-found.
            StorageError: nothing was changed.
        """
        before = next((each for each in self._store.tokens() if each.id == token_id), None)
        if before is None:
            raise self._not_found(token_id)
        text, until = secrets.token_urlsafe(32), rfc3339(time.time() + overlap)
        until = until if before.expires is None else min(until, before.expires)
        what = f"replace the text of token {before.name}"
        detail = f"{what}; the one from before is good until {until}"
        event = NewEvent("token.rotate", actor, detail=detail)
        token = self._store.rotate_token(token_id, digest_of(text), until, event)
        if token is None:
            raise self._not_found(token_id)
        log.info("token.rotate by %s: %s", actor, detail)
        return token, text, until

    def listed(self) -> list[dict[str, object]]:
        """Return every token as docs/api.md shows it, oldest first."""
        with self._lock:
            used = dict(self._used)
        former: dict[str, str] = {}
        for token in self._store.former_digests().values():
            if not _has_ended(token):
                former[token.id] = max(former.get(token.id, ""), token.expires or "")
        return [
            {
                "id": token.id,
                "name": token.name,
                "role": token.role,
                "pools": token.pools,
                "created": token.created,
                "expires": token.expires,
                "former_until": former.get(token.id),
                "last_used": used.get(token.id, token.last_used),
            }
            for token in self._store.tokens()
        ]

    def revoke(self, actor: str, token_id: str) -> None:
        """Revoke a token, from its next request on.

        Raises:
            RequestRefused: token-not-found, last-admin.
            StorageError: the token still works.
        """
        token = next((each for each in self._store.tokens() if each.id == token_id), None)
        if token is None:
            raise self._not_found(token_id)
        event = NewEvent(
            "token.revoke", actor, None, token_id, f"revoke {token.role} token {token.name}"
        )
        if not self._store.revoke_token(token_id, event):
            if all(each.id != token_id for each in self._store.tokens()):
                raise self._not_found(token_id)
            raise RequestRefused(
                "last-admin",
                f"Token {token.name!r} is the last admin token of all pools that does not expire",
                "create another such token first",
            )
        log.info("token.revoke %s by %s", token.name, actor)

    def flush(self) -> None:
        """Store when tokens were last used."""
        with self._lock:
            used, self._used = self._used, {}
        if used:
            self._store.touch_tokens(used)

    def keep_first_admin(self, path: Path) -> None:
        """Take the admin token that the file has; without the file, create it with one.

        Raises:
            StorageError: the file cannot be read or written; there is no new token.
        """
        try:
            text = path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            self.make_first_admin(path)
            return
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not plain ASCII"
            raise StorageError(f"Token file {path}: {reason}; name another one") from error
        if len(text) < _SHORTEST:
            raise StorageError(
                f"Token file {path}: its text is shorter than {_SHORTEST} characters; remove it, "
                "and it is made again"
            )
        event = NewEvent("token.create", detail="take the admin token of the token file")
        self._store.add_token(FIRST_ADMIN, "admin", digest_of(text), event)

    def make_first_admin(self, path: Path) -> bool:
        """If the store has no `lasting_admin`, create one and write its text to `path` (mode 0600).

        Of several processes starting at once just one does.

        Returns:
            Whether this process created the token.

        Raises:
            StorageError: the store or the file cannot be written; there is no new token.
        """
        if any(token.lasting_admin for token in self._store.tokens()):
            return False
        text = secrets.token_urlsafe(32)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "w") as file:
                file.write(text + "\n")
            event = NewEvent("token.create", detail="create the first admin token")
            if self._store.add_token(FIRST_ADMIN, "admin", digest_of(text), event) is None:
                return False
            draft.replace(path)
        except OSError as error:
            raise StorageError(
                f"Token file {path}: {error.strerror}; check that its directory can be written"
            ) from error
        finally:
            draft.unlink(missing_ok=True)
        return True

    @staticmethod
    def _not_found(token_id: str) -> RequestRefused:
        return RequestRefused(
            "token-not-found",
            f"There is no token {token_id!r:.80}",
            "list the tokens with GET /v1/tokens",
        )


def _has_ended(token: Token) -> bool:
    return token.expires is not None and token.expires <= rfc3339()


def _limits_in_words(pools: Sequence[str] | None, expires: str | None) -> str:
    only = "" if pools is None else f" for {', '.join(pools)}"
    return only if expires is None else f"{only} until {expires}"
