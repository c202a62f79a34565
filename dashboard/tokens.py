"""The pages of the tokens: the list, a new one, another text for one, and its end.

The text of a token is in the reply to the POST that made it, and nowhere else: in no URL, no log,
no session. Each form carries a key, so that a reload of that reply, which sends the form again,
makes nothing again: the metaserver remembers the key, and not the text.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import ClassVar

from flask import Blueprint, abort, redirect, render_template, request, url_for

from dashboard.auth import require_session
from dashboard.forms import (
    Form,
    InputError,
    Page,
    failed,
    only_admins,
    require_name,
    show,
    typed,
)
from dashboard.state import current_session, state
from dashboard.token_view import (
    ROLES,
    TokenPlan,
    TokenRow,
    plan_revocation,
    plan_rotation,
    plan_token,
    seconds_in,
    shown_token,
    token_row,
    token_rows,
    wanted_token,
)
from dashboard.upstream import (
    UPSTREAM_ERRORS,
    Json,
    OperatorProblem,
    Upstream,
    problem_of,
)

pages = Blueprint("tokens", __name__, url_prefix="/tokens")
pages.before_request(require_session)
pages.before_request(only_admins)

_KEY = re.compile(r"[\w-]{43}", re.ASCII)  # as `token_urlsafe` writes 32 bytes
_FIELD_OF = {"token-exists": "name", "expires_in": "expires"}  # code or field of the API -> field
_IN_DOUBT = ("metaserver-unavailable", "storage-unsure", "call-in-progress")
"""Codes after which a change may have been made: sent again with its key, it tells."""


@dataclass(frozen=True, kw_only=True)
class NewTokenForm(Form):
    """What the page of a new token shows.

    Attributes:
        name, role, pools, expires: what the user entered.
        plan: what would be done, or None before the preview.
        key: of the preview's form.
    """

    template: ClassVar[str] = "token_new.html"
    name: str = ""
    role: str = ROLES[0]
    pools: str = ""
    expires: str = ""
    plan: TokenPlan | None = None
    key: str = ""

    def field_of(self, problem: OperatorProblem) -> str:
        """Return the name of the field that the metaserver's problem is about, or ""."""
        named = problem.detail.partition(": ")[0].partition("[")[0]
        if named in ("name", "role", "pools"):
            return named
        return _FIELD_OF.get(named, _FIELD_OF.get(problem.code, ""))


@dataclass(frozen=True, kw_only=True)
class TokenForm(Form):
    """What the page of a change of a token shows.

    Attributes:
        kind: "rotate" or "revoke".
        token: None if the metaserver does not tell it.
        overlap, typed: what the user entered.
        plan, key: as of `NewTokenForm`.
    """

    template: ClassVar[str] = "token_change.html"
    kind: str
    token: TokenRow | None = None
    overlap: str = "1h"
    typed: str = ""
    plan: TokenPlan | None = None
    key: str = ""

    def field_of(self, problem: OperatorProblem) -> str:
        """Return the name of the field that the metaserver's problem is about, or ""."""
        return "overlap" if problem.detail.startswith("overlap: ") else ""


@dataclass(frozen=True, kw_only=True)
class TokenList(Form):
    """What the list shows."""

    template: ClassVar[str] = "tokens.html"
    rows: tuple[TokenRow, ...] = ()
    now: datetime


@pages.get("")
def listed() -> Page:
    """List the tokens."""
    now = _now()
    try:
        return show(TokenList(now=now, rows=token_rows(_upstream().tokens(), now)))
    except UPSTREAM_ERRORS as error:
        return failed(TokenList(now=now), problem_of(error))


@pages.route("/new", methods=["GET", "POST"])
def create() -> Page:
    """Create a token, after a preview, and show its text."""
    form = NewTokenForm(
        name=typed("name"),
        role=typed("role", ROLES[0]),
        pools=typed("pools"),
        expires=typed("expires"),
    )
    step = typed("step")
    if request.method == "GET" or step == "edit":
        return show(form)
    upstream = _upstream()
    try:
        wanted = wanted_token(form.name, form.role, form.pools, form.expires)
        if step == "confirm":
            plan = plan_token(wanted, (), wanted.pools or (), _now())
            form = replace(form, key=_key(), plan=plan)
            return _shown(upstream.create_token(wanted.body(), form.key))
        names = [str(token["name"]) for token in upstream.tokens()]
        pools = [str(pool["pool"]) for pool in upstream.pools()]
        return show(replace(form, key=_new_key(), plan=plan_token(wanted, names, pools, _now())))
    except InputError as error:
        return failed(form, error.problem, error.field)
    except UPSTREAM_ERRORS as error:
        return _refused(form, problem_of(error))


@pages.route("/<token>/rotate", methods=["GET", "POST"])
def rotate(token: str) -> Page:
    """Give a token another text, after a preview, and show the text."""
    form = TokenForm(kind="rotate", overlap=typed("overlap", "1h"), typed=typed("typed"))
    step = typed("step")
    upstream = _upstream()
    try:
        row = _found(upstream, token)
        form = replace(form, token=row)
        if request.method == "GET" or step == "edit":
            return show(form)
        overlap = seconds_in(form.overlap, "overlap")
        key = _key() if step == "confirm" else _new_key()
        form = replace(form, key=key, plan=plan_rotation(row, overlap, _now()))
        if step != "confirm":
            return show(form)
        require_name(row.name, "token", "changed")
        return _shown(upstream.rotate_token(token, overlap, key))
    except InputError as error:
        return failed(form, error.problem, error.field)
    except UPSTREAM_ERRORS as error:
        return _refused(form, problem_of(error))


@pages.route("/<token>/revoke", methods=["GET", "POST"])
def revoke(token: str) -> Page:
    """Revoke a token, after a preview."""
    form = TokenForm(kind="revoke", typed=typed("typed"))
    upstream = _upstream()
    try:
        row = _found(upstream, token)
        form = replace(form, token=row, plan=plan_revocation(row))
        if typed("step") != "confirm":
            return show(form)
        require_name(row.name, "token", "revoked")
        upstream.revoke_token(token)
    except InputError as error:
        return failed(form, error.problem, error.field)
    except UPSTREAM_ERRORS as error:
        return failed(form, problem_of(error))
    current_session().notices.append(f"Done: revoke token {row.name}.")
    return redirect(url_for("tokens.listed"), code=303)


def _shown(made: Json) -> Page:
    """Show the text of a token, which this reply alone has."""
    return render_template("token_shown.html", shown=shown_token(made, _now()))


def _refused(form: NewTokenForm | TokenForm, problem: OperatorProblem) -> Page:
    """Show why there is no text to show.

    A form that was sent before has made its change; one in doubt may be sent again, with its key.
    """
    if problem.code == "answer-lost":
        return render_template("token_shown.html", shown=None, problem=_SHOWN_BEFORE), 409
    if problem.code not in _IN_DOUBT:
        form = replace(form, plan=None)
    return failed(form, problem)


_SHOWN_BEFORE = OperatorProblem(
    "This form was sent before",
    "What it asks for was done then, and is not done again. The text was in that reply alone.",
    "If you have not kept it, rotate the token: that gives it another text.",
    "answer-lost",
    409,
)


def _found(upstream: Upstream, token_id: str) -> TokenRow:
    """Return a token. Raises InputError: there is none with this id."""
    for token in upstream.tokens():
        if str(token["id"]) == token_id:
            return token_row(token, _now())
    problem = OperatorProblem(
        "There is no such token",
        f"There is no token with the id {token_id!r:.80}.",
        "It may have been revoked: look at the list.",
        "token-not-found",
        404,
    )
    raise InputError(problem, "")


def _upstream() -> Upstream:
    return state().connect(current_session().token)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _new_key() -> str:
    return secrets.token_urlsafe(32)


def _key() -> str:
    """Return the key of the form; abort with 400 if it has none of our making."""
    key = typed("key")
    if not _KEY.fullmatch(key):
        abort(400, "The form lacks the key of the preview; start the change again.")
    return key
