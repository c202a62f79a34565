"""The pages that show a pool: its board, and the stream that updates the board."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from flask import (
    Blueprint,
    Response,
    redirect,
    render_template,
    request,
    stream_with_context,
    url_for,
)
from werkzeug.wrappers import Response as AnyResponse

from dashboard.auth import require_session, revoked
from dashboard.feed import PoolFeed
from dashboard.format import stamp
from dashboard.sessions import Session
from dashboard.shard_list import ListOptions
from dashboard.shard_rows import ShownRows
from dashboard.shown_board import ShownBoard
from dashboard.state import DashboardState, current_session, state
from dashboard.upstream import UPSTREAM_ERRORS, problem_of

pages = Blueprint("board", __name__)
pages.before_request(require_session)

FIRST_DATA_SECONDS = 8.0
KEEP_ALIVE_SECONDS = 4.0
LEAST_SECONDS_BETWEEN = 0.25
FATAL_RETRY_SECONDS = 15
"""After so many seconds a browser asks again about a pool that is gone: it may be made again."""


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
    feed = state().feeds.feed(session.token, pool)
    snapshot = feed.wait(0, FIRST_DATA_SECONDS)
    problem = snapshot.problem
    if problem is not None and problem.code == "unauthorized":
        return revoked()
    if problem is not None and (snapshot.fatal or snapshot.status is None):
        return render_template("problem.html", problem=problem), problem.status or 503
    shown = ShownBoard.of(feed, pool, snapshot, can_change=session.may_change(pool))
    options = ListOptions.asked(request.args, len(shown.view.shards))
    pressed = request.args.get("toggle") or request.args.get("show")
    if pressed:
        here = url_for("board.pool", pool=pool)
        return redirect(f"{here}{options.url()}#shard-{quote(pressed, safe='')}")
    return render_template(
        "pool.html",
        parts=shown.fragments(options),
        board=shown.view,
        shards=shown.listed(options),
        lines=shown.lines,
        options=options,
        link=shown.link,
        now=shown.now,
        can_change=shown.can_change,
        spark_of=shown.spark_of,
    )


@pages.get("/pools/<pool>/live")
def live(pool: str) -> AnyResponse:
    """Stream server-sent events `fragments`: the changed parts of the page, by element name."""
    session = current_session()
    feed = state().feeds.feed(session.token, pool)
    events = _events(state(), session, pool, feed, request.args)
    return Response(
        stream_with_context(events),
        mimetype="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


def _events(
    shared: DashboardState, session: Session, pool: str, feed: PoolFeed, query: Mapping[str, str]
) -> Iterator[str]:
    yield "retry: 1500\n\n"
    serial, fragments, rows = 0, dict[str, str](), ShownRows()  # serial 0: wait for the first data
    options: ListOptions | None = None
    while True:
        snapshot = feed.wait(serial, KEEP_ALIVE_SECONDS)
        # An open page is not activity: its session still ends when nobody clicks.
        refused = snapshot.problem is not None and snapshot.problem.code == "unauthorized"
        if refused or shared.sessions.get(session.id, touch=False) is None:
            shared.sign_out(session, revoked=refused)
            yield _message("signed-out", {})
            return
        serial = snapshot.serial
        shown = ShownBoard.of(feed, pool, snapshot, can_change=session.may_change(pool))
        news: dict[str, object] = {}
        if options is None:
            options = ListOptions.asked(query, len(shown.view.shards))
            news["url"] = options.url()
        rendered = shown.fragments(options)
        changed = {name: html for name, html in rendered.items() if fragments.get(name) != html}
        fragments = rendered
        news["rows"] = rows.news(
            shown.listed(options), shown.lines, shown.line, shown.details
        ).message()
        link = shown.link
        # Also if nothing changed: the message keeps the connection and tells the page's age.
        news["link"] = {
            "state": link.state,
            "since": stamp(link.since),
            "age": link.age,
            "now": stamp(shown.now),
        }
        yield _message("fragments", {**news, "html": changed})
        if snapshot.fatal:
            yield f"retry: {FATAL_RETRY_SECONDS * 1000}\n\n"
            return
        if not feed.alive:
            return  # the browser comes again, and gets another feed
        time.sleep(LEAST_SECONDS_BETWEEN)


def _message(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
