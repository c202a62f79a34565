"""The browser UI: rendered on the server, live over SSE; its only source is the metaserver's /v1.

app, config, state       the Flask app, its settings, and what its parts share
auth, sessions, security signing in and out; headers and CSRF of every page
board, changes, failover, migration   the pages; *view, view_model, alerts, slot_map, events, felt,
                         charts, format: what they show
history_page             the page of the last hour or day; history_charts, time_chart, event_marks:
                         what it shows
shard_list, shard_rows   which shards a browser lists, and what it is told of their rows
shown_board              renders what browsers show alike once
upstream                 calls to the metaserver; feed, feed_registry, history: its live stream
__main__                 `python -m dashboard`: the app under `cachemesh.serving`
"""
