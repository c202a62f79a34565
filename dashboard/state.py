"""What the parts of one running dashboard share, and who is signed in to this request."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app, g, request

from dashboard.config import DashboardConfig
from dashboard.feed import Hub
from dashboard.sessions import Session, SessionStore
from dashboard.upstream import Upstream

_KEY = "cachemesh-dashboard"


@dataclass(frozen=True)
class State:
    config: DashboardConfig
    sessions: SessionStore
    hub: Hub

    def connect(self, token: str) -> Upstream:
        return Upstream(self.config, token)

    def sign_out(self, session: Session) -> None:
        """End a session, and the feeds that only it used."""
        self.sessions.end(session.id)
        if not self.sessions.token_in_use(session.token):
            self.hub.forget(session.token)


def new_state(config: DashboardConfig) -> State:
    hub = Hub(lambda token: Upstream(config, token))
    return State(config, SessionStore(config.idle_seconds), hub)


def keep_state(extensions: dict[str, object], state: State) -> None:
    extensions[_KEY] = state


def state() -> State:
    """The running app's state."""
    found = current_app.extensions[_KEY]
    assert isinstance(found, State)
    return found


def find_session(*, touch: bool = True) -> Session | None:
    """The session the request's cookie names, if it is open."""
    cookie = request.cookies.get(state().config.cookie_name)
    return state().sessions.get(cookie, touch=touch) if cookie else None


def current_session() -> Session:
    """The session of this request, which `auth.require_session` has put there."""
    found = g.session
    assert isinstance(found, Session)
    return found
