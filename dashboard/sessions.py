"""Keeps sign-in sessions in this process's memory; the browser knows only a random id."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

MAX_SESSIONS = 1000
MAX_NOTICES = 10
"""Of one session: a program that signs in and changes things may never look at a page."""


@dataclass
class Session:
    """One signed-in browser.

    Attributes:
        id: the value of the browser's cookie.
        token: the metaserver's token that the user signed in with.
        role: "read" or "admin".
        csrf: the token that the session's forms carry.
        last_seen: when the browser last made a request, in monotonic seconds.
        pools: the only pools that the token is good for; None: all.
        notices: messages for the next page, the latest ones.
    """

    id: str = field(repr=False)
    token: str = field(repr=False)
    role: str
    csrf: str = field(repr=False)
    last_seen: float
    pools: tuple[str, ...] | None = None
    notices: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_NOTICES))

    def may_change(self, pool: str | None) -> bool:
        """Return whether the token may change a pool; None: what is of no pool, such as tokens."""
        return self.role == "admin" and (self.pools is None or pool in self.pools)

    def accepts(self, csrf: str) -> bool:
        """Return whether a form's CSRF token is the session's, compared in constant time."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode())

    def take_notices(self) -> list[str]:
        """Return the messages for the operator, and forget them."""
        notices = list(self.notices)
        self.notices.clear()
        return notices


class SessionStore:
    """All open sessions, by id.

    Args:
        idle_seconds: after which a session without a request ends.
        clock: returns monotonic seconds.
    """

    def __init__(self, idle_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._revoked: dict[str, None] = {}  # ids, the latest ones

    def create(self, token: str, role: str, pools: Iterable[str] | None = None) -> Session:
        """Start a session; if `MAX_SESSIONS` are open, end the one idle for longest.

        Args:
            token: that the user has signed in with.
            role, pools: of the token; without `pools` it is good for all.
        """
        session = Session(
            id=secrets.token_urlsafe(32),
            token=token,
            role=role,
            csrf=secrets.token_urlsafe(32),
            last_seen=self._clock(),
            pools=None if pools is None else tuple(pools),
        )
        with self._lock:
            self._expire()
            if len(self._sessions) >= MAX_SESSIONS:
                oldest = min(self._sessions.values(), key=lambda each: each.last_seen)
                del self._sessions[oldest.id]
            self._sessions[session.id] = session
        return session

    def get(self, session_id: str, *, touch: bool = True) -> Session | None:
        """Return an open session, or None.

        Args:
            session_id: its id.
            touch: whether this counts as activity.
        """
        with self._lock:
            self._expire()
            session = self._sessions.get(session_id)
            if session is not None and touch:
                session.last_seen = self._clock()
            return session

    def end(self, session_id: str, *, revoked: bool = False) -> None:
        """End a session, if it is open.

        Args:
            session_id: its id.
            revoked: whether it ends because its token is refused.
        """
        with self._lock:
            ended = self._sessions.pop(session_id, None)
            if ended is not None and revoked:
                self._revoked[session_id] = None
                if len(self._revoked) > MAX_SESSIONS:
                    del self._revoked[next(iter(self._revoked))]

    def was_revoked(self, session_id: str) -> bool:
        """Return whether a session has ended because its token was refused.

        Several requests of one page may learn that: the first one ends the session.
        """
        with self._lock:
            return session_id in self._revoked

    def token_in_use(self, token: str) -> bool:
        """Return whether any open session was signed in with this token."""
        with self._lock:
            self._expire()
            return any(each.token == token for each in self._sessions.values())

    def _expire(self) -> None:
        limit = self._clock() - self._idle_seconds
        for session in [each for each in self._sessions.values() if each.last_seen < limit]:
            del self._sessions[session.id]
