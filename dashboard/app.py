"""Makes the Flask app of the dashboard."""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, g, render_template
from markupsafe import escape
from werkzeug.exceptions import HTTPException

from dashboard import (
    auth,
    board,
    changes,
    failover,
    format,
    migration,
    new_pool,
    pause,
    pool_pages,
    settings,
    tokens,
)
from dashboard.config import DashboardConfig
from dashboard.security import HEADERS, secure
from dashboard.sessions import Session
from dashboard.state import find_session, keep_state, new_state
from dashboard.upstream import OperatorProblem
from dashboard.url_prefix import Prefixed

MAX_FORM_BYTES = 64 * 1024


def create_app(config: DashboardConfig) -> Flask:
    """Make a dashboard on the metaservers of `config`; the app keeps its sessions and feeds."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_FORM_BYTES
    app.url_map.merge_slashes = False  # else //x redirects to wherever the Host header says
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    keep_state(app.extensions, new_state(config))
    secure(app)
    for part in (
        auth,
        board,
        changes,
        failover,
        migration,
        new_pool,
        pause,
        pool_pages,
        settings,
        tokens,
    ):
        app.register_blueprint(part.pages)
    for word in format.FILTERS:
        app.add_template_filter(getattr(format, word), word)
    app.context_processor(_for_every_page)
    app.register_error_handler(HTTPException, _error_page)
    app.add_url_rule("/livez", view_func=_livez)
    if config.url_prefix or config.forwarded_prefix:
        below = Prefixed(app.wsgi_app, config.url_prefix, config.forwarded_prefix)
        app.wsgi_app = below  # type: ignore[method-assign]
    return app


def unparsed(status: HTTPStatus, detail: str) -> tuple[dict[str, str], str]:
    """Return headers and page for bytes that are no HTTP request, which no view can answer.

    Args:
        status: of the reply.
        detail: what is wrong.
    """
    told = "Look at the dashboard's log." if status >= 500 else detail
    title = f"{status.value} {status.phrase}"
    headers = {**HEADERS, "Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    page = f"<!doctype html><title>{title}</title><h1>{title}</h1><p>{escape(told)}</p>"
    return headers, page


def _livez() -> dict[str, str]:
    """Answer that this process runs; the metaserver may be down."""
    return {"status": "ok"}


def _for_every_page() -> dict[str, Session | None]:
    return {"session": g.get("session")}


def _error_page(error: HTTPException) -> tuple[str, int]:
    if "session" not in g:
        g.session = find_session()
    status = error.code or 500
    detail = "There is no such page." if status == 404 else error.description or ""
    problem = OperatorProblem(error.name, detail, status=status)
    return render_template("problem.html", problem=problem), status
