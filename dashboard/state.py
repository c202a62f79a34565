"""What the parts of one running dashboard share, and the session of the current request."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from flask import current_app, g, request

from dashboard.config import DashboardConfig
from dashboard.feed_registry import FeedRegistry
from dashboard.sessions import Session, SessionStore
from dashboard.upstream import Upstream

_KEY = "cachemesh-dashboard"


@dataclass(frozen=True)
class DashboardState:
    """The settings, sessions and feeds of one app."""

    config: DashboardConfig
    sessions: SessionStore
    feeds: FeedRegistry
    _upstreams: dict[str, Upstream] = field(default_factory=dict, repr=False)  # by token
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def connect(self, token: str) -> Upstream:
        """Return the metaserver's API for a token.

        It is kept while a session has the token, as it knows which metaserver answered last: of
        those before, each may be gone, and then costs every call the time until it is given up.
        """
        with self._lock:
            found = self._upstreams.get(token)
            if found is None:
                for gone in [t for t in self._upstreams if not self.sessions.token_in_use(t)]:
                    del self._upstreams[gone]
                found = self._upstreams[token] = Upstream(self.config, token)
            return found

    def sign_out(self, session: Session, *, revoked: bool = False) -> None:
        """End a session, and the feeds of its token if no other session uses them.

        Args:
            session: that ends.
            revoked: whether the metaserver refuses its token.
        """
        self.sessions.end(session.id, revoked=revoked)
        if not self.sessions.token_in_use(session.token):
            self.feeds.forget(session.token)
            with self._lock:
                self._upstreams.pop(session.token, None)


def new_state(config: DashboardConfig) -> DashboardState:
    """Make the state of a new app."""
    feeds = FeedRegistry(lambda token: Upstream(config, token))
    return DashboardState(config, SessionStore(config.idle_seconds), feeds)


def keep_state(extensions: dict[str, object], state: DashboardState) -> None:
    """Put the state into an app's ``extensions``, where `state` finds it."""
    extensions[_KEY] = state


def state() -> DashboardState:
    """Return the current app's state."""
    found = current_app.extensions[_KEY]
    assert isinstance(found, DashboardState)
    return found


def find_session(*, touch: bool = True) -> Session | None:
    """Return the open session that the request's cookie names, or None.

    Args:
        touch: whether the request counts as activity.
    """
    cookie = request.cookies.get(state().config.cookie_name)
    return state().sessions.get(cookie, touch=touch) if cookie else None


def current_session() -> Session:
    """Return the session of this request, which `auth.require_session` has found."""
    found = g.session
    assert isinstance(found, Session)
    return found
