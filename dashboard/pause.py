"""The page that pauses a pool: a preview (a dry run), a reason to give; and the end of a pause."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, redirect, render_template, request, url_for

from dashboard.auth import require_session, revoked
from dashboard.forms import Page, only_admins
from dashboard.state import current_session, state
from dashboard.upstream import UPSTREAM_ERRORS, Json, OperatorProblem, problem_of

pages = Blueprint("pause", __name__, url_prefix="/pools/<pool>/pause")
pages.before_request(require_session)
pages.before_request(only_admins)


@dataclass(frozen=True)
class PauseForm:
    """What the page shows.

    Attributes:
        pool: to be paused.
        reason: as the user has entered it.
        preview: the metaserver's plan, or None.
        problem: what went wrong, or None.
        wrong: the name of the field that it is about, or "".
    """

    pool: str
    reason: str = ""
    preview: Json | None = None
    problem: OperatorProblem | None = None
    wrong: str = ""


@pages.route("", methods=["GET", "POST"])
def pause(pool: str) -> Page:
    """Show what a pause means, or begin it once that is confirmed."""
    upstream = state().connect(current_session().token)
    reason = request.form.get("reason", "").strip()
    try:
        if request.method == "POST":
            upstream.pause(pool, {"reason": reason})
            return _done(pool, f"Paused: the metaserver does nothing on {pool} by itself.")
        preview = upstream.pause(pool, {"dry_run": True})
        return render_template("pause.html", form=PauseForm(pool, preview=preview))
    except UPSTREAM_ERRORS as error:
        problem = problem_of(error)
    if problem.status == 401:
        return revoked()
    wrong = "reason" if problem.detail.startswith("reason: ") else ""
    form = PauseForm(pool, reason, problem=problem, wrong=wrong)
    return render_template("pause.html", form=form), problem.status or 503


@pages.post("/end")
def resume(pool: str) -> Page:
    """Go on with a pool that was paused."""
    try:
        state().connect(current_session().token).resume(pool)
    except UPSTREAM_ERRORS as error:
        problem = problem_of(error)
        if problem.status == 401:
            return revoked()
        return render_template("problem.html", problem=problem), problem.status or 503
    return _done(pool, f"Resumed: the metaserver goes on with {pool}.")


def _done(pool: str, notice: str) -> Page:
    current_session().notices.append(notice)
    return redirect(url_for("board.pool", pool=pool), code=303)
