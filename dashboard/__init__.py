"""The browser UI: rendered on the server, live over SSE, talks only to the metaserver's /v1.

`dashboard.app.create_app` makes the Flask app; `python -m dashboard` serves it.
"""
