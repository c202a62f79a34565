"""The page that fails over a shard: a preview (a dry run), then the failover itself."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, redirect, render_template, request, url_for

from dashboard.auth import require_session, revoked
from dashboard.forms import Page, only_admins
from dashboard.state import current_session, state
from dashboard.upstream import UPSTREAM_ERRORS, Json, OperatorProblem, problem_of

pages = Blueprint("failover", __name__, url_prefix="/pools/<pool>/shards")
pages.before_request(require_session)
pages.before_request(only_admins)


_ANOTHER_MASTER = OperatorProblem(
    "The shard has another master since the preview",
    "It may have been failed over meanwhile, by you or by others.",
    "Nothing was changed. The preview below is new: look at it, then confirm again.",
    "master-changed",
    409,
)


@dataclass(frozen=True)
class FailoverForm:
    """What the page shows.

    Attributes:
        pool, shard: of the failover.
        to: the chosen replica as "host:port"; "": Sentinel chooses.
        preview: the metaserver's plan, or None.
        problem: what went wrong, or None.
    """

    pool: str
    shard: str
    to: str = ""
    preview: Json | None = None
    problem: OperatorProblem | None = None


@pages.route("/<name>/failover", methods=["GET", "POST"])
def fail_over(pool: str, name: str) -> Page:
    """Show the preview of a failover, or carry out a confirmed one."""
    to = request.form.get("to", "").strip()
    body = {"to": to} if to else {}
    upstream = state().connect(current_session().token)
    problem, preview = None, None
    try:
        preview = upstream.fail_over(pool, name, {**body, "dry_run": True})
        if request.form.get("step") == "confirm":
            # Another failover may have come first: a second one would undo it.
            if request.form.get("master") == preview["master_before"]:
                done = upstream.fail_over(pool, name, body)
                current_session().notices.append(f"Done: {done['summary']}.")
                return redirect(url_for("board.pool", pool=pool), code=303)
            problem = _ANOTHER_MASTER
    except UPSTREAM_ERRORS as error:
        problem, preview = problem_of(error), None
    if problem is not None and problem.status == 401:
        return revoked()
    page = render_template("failover.html", form=FailoverForm(pool, name, to, preview, problem))
    return (page, problem.status or 503) if problem else page
