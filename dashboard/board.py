"""The pages that show a pool: its board, and the stream that updates the board."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import partial

from flask import (
    Blueprint,
    Response,
    redirect,
    render_template,
    stream_with_context,
    url_for,
)
from werkzeug.wrappers import Response as AnyResponse

from dashboard.auth import require_session, revoked
from dashboard.feed import PoolFeed, PoolSnapshot
from dashboard.format import stamp
from dashboard.sessions import Session
from dashboard.state import DashboardState, current_session, state
from dashboard.upstream import UPSTREAM_ERRORS, problem_of
from dashboard.view import board, freshness

pages = Blueprint("board", __name__)
pages.before_request(require_session)

FRAGMENTS = ("pools", "alerts", "totals", "slots", "migration", "shards", "events", "side")
FIRST_DATA_SECONDS = 8.0
KEEP_ALIVE_SECONDS = 4.0
LEAST_SECONDS_BETWEEN = 0.25


@pages.get("/")
def home() -> AnyResponse | str | tuple[str, int]:
    """Redirect to the first pool; without a pool, show how to make one."""
    try:
        pools = state().connect(current_session().token).pools()
    except UPSTREAM_ERRORS as error:
        problem = problem_of(error)
        if problem.status == 401:
            return revoked()
        return render_template("problem.html", problem=problem), 503
    if not pools:
        return render_template("no_pools.html")
    return redirect(url_for("board.pool", pool=pools[0]["pool"]))


@pages.get("/pools/<pool>")
def pool(pool: str) -> AnyResponse | str | tuple[str, int]:
    """Show a pool's board."""
    session = current_session()
    snapshot = state().feeds.feed(session.token, pool).wait(0, FIRST_DATA_SECONDS)
    problem = snapshot.problem
    if problem is not None and problem.code == "unauthorized":
        return revoked()
    if problem is not None and (snapshot.fatal or snapshot.status is None):
        return render_template("problem.html", problem=problem), 404 if snapshot.fatal else 503
    return render_template(
        "pool.html",
        parts=fragments(pool, snapshot, session.can_change),
        board=board(pool, snapshot),
        link=freshness(snapshot, datetime.now(timezone.utc)),
    )


@pages.get("/pools/<pool>/live")
def live(pool: str) -> AnyResponse:
    """Stream server-sent events `fragments`: the changed parts of the page, by element name."""
    session = current_session()
    feed = state().feeds.feed(session.token, pool)
    events = _events(state(), session, pool, feed)
    return Response(
        stream_with_context(events),
        mimetype="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


def fragments(pool: str, snapshot: PoolSnapshot, can_change: bool) -> dict[str, str]:
    """Render the parts of a pool's page that change.

    Args:
        pool: its name.
        snapshot: what is known of the pool.
        can_change: whether the session may change the pool.

    Returns:
        The HTML of each part by its name.
    """
    view = board(pool, snapshot)
    now = datetime.now(timezone.utc)
    return {
        name: render_template(
            f"fragments/{name}.html",
            board=view,
            snapshot=snapshot,
            link=freshness(snapshot, now),
            can_change=can_change and not view.observer,
            now=now,
        ).strip()
        for name in FRAGMENTS
    }


def _events(shared: DashboardState, session: Session, pool: str, feed: PoolFeed) -> Iterator[str]:
    yield "retry: 1500\n\n"
    serial, shown = 0, dict[str, str]()  # serial 0: wait for a new feed's first data
    while True:
        snapshot = feed.wait(serial, KEEP_ALIVE_SECONDS)
        # An open page is not activity: its session still ends when nobody clicks.
        refused = snapshot.problem is not None and snapshot.problem.code == "unauthorized"
        if refused or shared.sessions.get(session.id, touch=False) is None:
            shared.sign_out(session, revoked=refused)
            yield _message("signed-out", {})
            return
        serial = snapshot.serial
        link = freshness(snapshot, datetime.now(timezone.utc))
        rendered = feed.shared(
            (serial, link.state, session.can_change),
            partial(fragments, pool, snapshot, session.can_change),
        )
        changed = {name: html for name, html in rendered.items() if shown.get(name) != html}
        shown = rendered
        # Also if nothing changed: the message keeps the connection and tells the page's age.
        yield _message(
            "fragments",
            {
                "link": {"state": link.state, "since": stamp(link.since), "age": link.age},
                "html": changed,
            },
        )
        if snapshot.fatal:
            return
        time.sleep(LEAST_SECONDS_BETWEEN)


def _message(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
