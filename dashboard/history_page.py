"""The page with the charts of a pool's last minutes, hour or day, or of one of its shards."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from flask import Blueprint, render_template, request

from dashboard.auth import require_session, revoked
from dashboard.format import stamp
from dashboard.forms import Page
from dashboard.history_charts import RANGES, USUAL_RANGE, history_view
from dashboard.state import current_session, state
from dashboard.upstream import UPSTREAM_ERRORS, problem_of

pages = Blueprint("history", __name__)
pages.before_request(require_session)

_EVENTS = 1000  # that the metaserver is asked for; few of them are marked


@pages.get("/pools/<pool>/history")
def show(pool: str) -> Page:
    """Show the history of a pool (`?range=1h`), or of one shard (`&shard=cache-0`)."""
    chosen = request.args.get("range", USUAL_RANGE)
    if chosen not in RANGES:
        chosen = USUAL_RANGE
    shown, shard = RANGES[chosen], request.args.get("shard") or None
    now = datetime.now(timezone.utc)
    since = stamp(now - timedelta(seconds=shown.seconds))
    upstream = state().connect(current_session().token)
    try:
        placement = upstream.document(pool)["placement"]
        history = upstream.history(pool, since=since, step=shown.step, shard=shard)
        events = upstream.events(pool, _EVENTS, {"since": since})
        pools = upstream.pools()
    except UPSTREAM_ERRORS as error:
        problem = problem_of(error)
        if problem.status == 401:
            return revoked()
        return render_template("problem.html", problem=problem), problem.status or 503
    return render_template(
        "history.html",
        here="history",
        pool=pool,
        pools=pools,
        now=now,
        page=history_view(history, events, chosen),
        ranges=RANGES,
        shards=[str(each["name"]) for each in placement["shards"]],
    )
