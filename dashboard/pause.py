"""The page that pauses a pool: a preview (a dry run), a reason to give; and the end of a pause."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flask import Blueprint, redirect, render_template, request, url_for

from dashboard.auth import require_session, revoked
from dashboard.forms import Page, PoolForm, failed, only_admins, show, typed
from dashboard.state import current_session, state
from dashboard.upstream import UPSTREAM_ERRORS, OperatorProblem, problem_of

pages = Blueprint("pause", __name__, url_prefix="/pools/<pool>/pause")
pages.before_request(require_session)
pages.before_request(only_admins)


@dataclass(frozen=True, kw_only=True)
class PauseForm(PoolForm):
    """What the page shows.

    Attributes:
        reason: as the user has entered it.
    """

    template = "pause.html"
    reason: str = ""

    def field_of(self, problem: OperatorProblem) -> str:
        """Return the name of the field that the metaserver's problem is about, or ""."""
        return "reason" if problem.detail.startswith("reason: ") else ""


@pages.route("", methods=["GET", "POST"])
def pause(pool: str) -> Page:
    """Show what a pause means, or begin it once that is confirmed."""
    upstream = state().connect(current_session().token)
    form = PauseForm(pool=pool, reason=typed("reason"))
    try:
        if request.method == "POST":
            upstream.pause(pool, {"reason": form.reason})
            return _done(pool, f"Paused: the metaserver does nothing on {pool} by itself.")
        return show(replace(form, preview=upstream.pause(pool, {"dry_run": True})))
    except UPSTREAM_ERRORS as error:
        return failed(form, problem_of(error))


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
