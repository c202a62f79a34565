"""The further pages of a pool, each as a metaserver tells it when it is loaded.

Its clients, its Sentinels beside its shards, one shard, its events, its history, what the doctor
finds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone

from flask import Blueprint, render_template, request

from cachemesh.discovery.metaserver_request import Query
from dashboard.auth import require_session, revoked
from dashboard.client_rows import ClientOptions, listed_clients, pool_clients
from dashboard.event_search import PAGE_SIZE, EventSearch, LoggedEvents, logged_events
from dashboard.events import ACTIONS
from dashboard.findings import findings_of
from dashboard.forms import Page
from dashboard.history_charts import RANGES, USUAL_RANGE, history_view
from dashboard.sentinel_matrix import sentinel_matrix
from dashboard.shard_answers import ask_about_shard
from dashboard.shard_page import shard_page
from dashboard.state import current_session, state
from dashboard.upstream import UPSTREAM_ERRORS, OperatorProblem, Upstream, problem_of

MOST_MARKED = 1000
"""Events that the metaserver is asked for, for the history; few of them are marked."""

pages = Blueprint("pool_pages", __name__, url_prefix="/pools/<pool>")
pages.before_request(require_session)


@pages.get("/clients")
def clients(pool: str) -> Page:
    """Show the clients of a pool: those that lag first, and what waits for them."""
    options = ClientOptions.of(request.args)

    def told(upstream: Upstream) -> Mapping[str, object]:
        convergence = upstream.convergence(pool)  # before the clients, see `pool_clients`
        live = upstream.clients(pool)
        status, quality = upstream.status(pool), upstream.quality(pool)
        found = pool_clients(status, convergence, live, quality)
        return {"clients": found, "listed": listed_clients(found.rows, options)}

    return _page("clients", pool, told, options=options)


@pages.get("/sentinels")
def sentinels(pool: str) -> Page:
    """Show what each Sentinel says about each shard."""
    return _page("sentinels", pool, lambda up: {"matrix": sentinel_matrix(up.sentinels(pool))})


@pages.get("/shards/<name>")
def shard(pool: str, name: str) -> Page:
    """Show one shard; an admin's token has its instances asked, for 2 s or so at most."""
    may_ask = current_session().may_change(pool)

    def told(upstream: Upstream) -> Mapping[str, object]:
        answers = ask_about_shard(upstream, pool, name, ask_instances=may_ask)
        return {"page": shard_page(pool, answers)}

    return _page("shard", pool, told)


@pages.get("/events")
def events(pool: str) -> Page:
    """Show the events of a pool that were searched for."""
    search = EventSearch.of(request.args)
    try:
        wanted = search.wanted(datetime.now(timezone.utc))
    except ValueError as error:
        problem = OperatorProblem("Nothing was searched for", str(error))
        refused = LoggedEvents(search, problem=problem, wrong="since")
        return _page("events", pool, lambda _: {"log": refused}, 400, actions=ACTIONS)
    return _page("events", pool, lambda up: _log(up, pool, search, wanted), actions=ACTIONS)


@pages.get("/history")
def history(pool: str) -> Page:
    """Show the history of a pool (`?range=1h`), or of one shard (`&shard=cache-0`)."""
    chosen = request.args.get("range", USUAL_RANGE)
    if chosen not in RANGES:
        chosen = USUAL_RANGE
    shown, shard = RANGES[chosen], request.args.get("shard") or None

    def told(upstream: Upstream) -> Mapping[str, object]:
        placement = upstream.document(pool)["placement"]
        past = upstream.history(pool, seconds=shown.seconds, step=shown.step, shard=shard)
        found = upstream.events(pool, MOST_MARKED, {"since": past["since"]})
        names = [str(each["name"]) for each in placement["shards"]]
        whole = len(found) < MOST_MARKED
        page = history_view(past, found, chosen, all_events=whole)
        return {"page": page, "shards": names}

    return _page("history", pool, told, ranges=RANGES)


@pages.get("/doctor")
def doctor(pool: str) -> Page:
    """Show what is configured wrong at a pool's servers; it asks them all, for some seconds."""
    return _page("doctor", pool, lambda up: {"found": findings_of(up.findings(pool))})


def _log(upstream: Upstream, pool: str, search: EventSearch, wanted: Query) -> Mapping[str, object]:
    found = upstream.events(pool, PAGE_SIZE + 1, wanted)
    names = [each["name"] for each in upstream.status(pool)["shards"]]  # there is such a pool
    return {"log": logged_events(search, found), "shards": names}


def _page(
    name: str,
    pool: str,
    told: Callable[[Upstream], Mapping[str, object]],
    status: int = 200,
    **more: object,
) -> Page:
    """Render a page, or the problem of the metaserver that it needs.

    Args:
        name: of the template, and of the page in the navigation.
        told: asks the metaserver, and returns what the template shows.
        status: HTTP status of the page.
        more: that the template shows.
    """
    upstream = state().connect(current_session().token)
    try:
        found, pools = told(upstream), upstream.pools()
    except UPSTREAM_ERRORS as error:
        problem = problem_of(error)
        if problem.status == 401:
            return revoked()
        # A page that a token may not see, or that fails, still leads to the others of its pool.
        shown = {} if problem.code == "pool-not-found" else {"here": name, "pool": pool}
        return render_template("problem.html", problem=problem, **shown), problem.status or 503
    now = datetime.now(timezone.utc)
    page = render_template(
        f"{name}.html", here=name, pool=pool, pools=pools, now=now, **found, **more
    )
    return page, status
