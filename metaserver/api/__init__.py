"""The HTTP API: Flask blueprints over the use cases, described by one OpenAPI document.

    app              the Flask application
    backend          what the views work with
    contract         the OpenAPI document, and requests checked against it
    access           tokens, and what their roles and pools allow
    request          decoding, and views bound to operations of the contract
    problem_details  errors as replies: HTTP statuses, problem documents
    idempotency      calls that change something once, however often they are sent
    lost_answers     what such a call is told whose answer is gone
    request_outcome  what a request came to, for the metrics
    call_limits      how many calls of one token may be in progress, and come in a second
    refusals         the log of refused calls
    metrics          request counters, and the Prometheus text format
    resize_metrics   the metrics of a resize under way
    webhook_metrics  the metrics of the URLs that events are posted to
    direct_watch     watch calls without Flask, for fleets
    pools, pauses, placement, shards, resizes, sweeps, watch, tokens, health   the views, by their
                     resource

Imports all rooms below it; `runtime` and `cli` are on top.
"""
