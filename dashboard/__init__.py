"""The browser UI: rendered on the server, live over SSE; its only source is the metaserver's /v1.

app, config, state       the Flask app, its settings, and what its parts share
auth, sessions, security signing in and out; headers and CSRF of every page
board, changes, failover, migration   the pages; *view, view_model, events, felt, charts, format:
                         what they show
upstream                 calls to the metaserver; feed, feed_registry, history: its live stream
__main__                 `python -m dashboard`: the app under `cachemesh.serving`
"""
