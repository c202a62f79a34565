"""The pages to sign in with a metaserver token, and to sign out."""

from __future__ import annotations

import hmac
import re
import secrets

from flask import Blueprint, abort, g, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from cachemesh.core.errors import ConfigurationError
from cachemesh.discovery.bearer_token import read_token
from dashboard.security import check_csrf
from dashboard.sessions import Session
from dashboard.state import current_session, find_session, state
from dashboard.upstream import UPSTREAM_ERRORS, OperatorProblem, Upstream, problem_of

pages = Blueprint("auth", __name__)
_CSRF_BYTES = 32
_OUR_CSRF = re.compile(r"[\w-]{43}", re.ASCII)  # as `token_urlsafe` writes so many bytes
_REASONS = {
    "expired": "Your session has ended. Sign in again.",
    "revoked": "The metaserver no longer accepts the token you signed in with.",
    "out": "You are signed out.",
}


def to_login(reason: str | None = None) -> Response:
    """Redirect to the sign-in page, which explains a `reason` of `_REASONS`."""
    return redirect(url_for("auth.login", reason=reason), code=303)


def require_session() -> Response | None:
    """Redirect a request without an open session to the sign-in page."""
    session = find_session()
    if session is None:
        return to_login(_why_ended(request.cookies.get(state().config.cookie_name)))
    g.session = session
    return None


def _why_ended(session_id: str | None) -> str | None:
    if not session_id:
        return None
    return "revoked" if state().sessions.was_revoked(session_id) else "expired"


@pages.get("/login")
def login() -> Response:
    """Show the sign-in page."""
    if find_session() is not None:
        return redirect(url_for("board.home"))
    ended = _why_ended(request.cookies.get(state().config.cookie_name))
    return _form(notice=_REASONS.get(request.args.get("reason", ended or "")))


@pages.post("/login")
def sign_in() -> Response:
    """Check the token against the metaserver; start a session if it is good."""
    # Without a session, the form's token is compared with one in a cookie that no other site can
    # send (SameSite=Strict). Another server of this host could set or read that cookie, as cookies
    # know no ports; a form of its own is refused for its Origin (`refuse_foreign_changes`).
    expected = request.cookies.get(_login_cookie(), "")
    if not expected or not hmac.compare_digest(
        expected.encode(), request.form.get("csrf", "").encode()
    ):
        return _form(
            OperatorProblem("Try once more", "This page had gone stale; nothing was sent."), 400
        )
    problem, session = _open_session(request.form.get("token", "").strip())
    if session is None:
        assert problem is not None
        return _form(problem, 503 if problem.status == 0 else problem.status)
    # The form's cookie stays: boards in other tabs may all come back to the form at once.
    response = redirect(url_for("board.home"), code=303)
    response.set_cookie(
        state().config.cookie_name,
        session.id,
        httponly=True,
        samesite="Strict",
        secure=request.is_secure,
        path=_cookie_path(),
    )
    return response


@pages.post("/logout")
def sign_out() -> Response:
    """End the session and its cookie."""
    session = find_session()
    if session is None:
        return to_login()
    check_csrf(session)
    state().sign_out(session)
    response = to_login("out")
    response.delete_cookie(state().config.cookie_name, path=_cookie_path())
    return response


@pages.get("/session")
def session_alive() -> Response:
    """Answer 204 with an open session, else 401; the question does not count as activity."""
    if find_session(touch=False) is None:
        abort(401)
    return Response(status=204)


def revoked() -> Response:
    """End the session, as the metaserver has refused its token."""
    state().sign_out(current_session(), revoked=True)
    return to_login("revoked")


def _open_session(text: str) -> tuple[OperatorProblem | None, Session | None]:
    if not text:
        return OperatorProblem("No token", "Type the token in.", status=400), None
    try:
        token = read_token(text, None)
        assert token is not None
        own = Upstream(state().config, token).own_token()
        return None, state().sessions.create(token, str(own["role"]), own["pools"])
    except ConfigurationError:
        detail = "A token is one word of plain ASCII letters, digits and signs."
        return OperatorProblem("That is not a token", detail, status=400), None
    except UPSTREAM_ERRORS as error:
        problem = problem_of(error)
        if problem.status == 401:
            return (
                OperatorProblem(
                    "Wrong token",
                    "The metaserver does not know this token.",
                    "Check it, or have an administrator create one: cachemesh token create",
                    status=401,
                ),
                None,
            )
        return problem, None


def _cookie_path() -> str:
    """Return the path below which the dashboard is, for its cookie alone to be sent there."""
    return f"{request.script_root}/"


def _form(
    problem: OperatorProblem | None = None, status: int = 200, notice: str | None = None
) -> Response:
    # Several tabs may show the form: the cookie is that of all, so each form has its value.
    csrf = request.cookies.get(_login_cookie(), "")
    if not _OUR_CSRF.fullmatch(csrf):
        csrf = secrets.token_urlsafe(_CSRF_BYTES)
    page = render_template("login.html", problem=problem, notice=notice, login_csrf=csrf)
    response = make_response(page, status)
    response.set_cookie(
        _login_cookie(),
        csrf,
        httponly=True,
        samesite="Strict",
        secure=request.is_secure,
        path=url_for("auth.login"),
    )
    return response


def _login_cookie() -> str:
    return state().config.cookie_name + "_login"
