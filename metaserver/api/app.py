"""The Flask application."""

from __future__ import annotations

from flask import Flask, Response, request

from metaserver.api import (
    backups,
    health,
    history,
    pauses,
    placement,
    pools,
    resizes,
    sentinels,
    shards,
    sweeps,
    tokens,
    watch,
)
from metaserver.api.backend import Backend
from metaserver.api.problem_details import reply_with_problems
from metaserver.api.request import check_requests
from metaserver.api.request_outcome import outcome_of


def create_app(backend: Backend) -> Flask:
    """Return the whole API over the parts of one process."""
    app = Flask("metaserver", static_folder=None)
    app.url_map.redirect_defaults = False
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False  # else //v1 redirects to wherever the Host header says
    check_requests(app, backend)
    reply_with_problems(app)
    serving = (pools, pauses, history, placement, shards, sentinels, resizes, sweeps)
    for part in (*serving, watch, tokens, backups):
        app.register_blueprint(part.blueprint)
    app.register_blueprint(health.blueprint)

    def count(reply: Response) -> Response:
        operation = (request.endpoint or "none").rpartition(".")[2]
        backend.counters.count_request(operation, reply.status_code, outcome_of(operation))
        return reply

    app.after_request(count)
    return app
