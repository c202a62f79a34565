"""The browser UI: rendered on the server, live over SSE; its only source is the metaserver's /v1.

app, config, state       the Flask app, its settings, and what its parts share
auth, sessions, security signing in and out; headers and CSRF of every page
board                    the page of a pool, and its stream; *view, view_model, alerts, slot_map,
                         events, felt, charts, format: what pages show
pool_pages               a pool's further pages: client_rows and client_waits, sentinel_matrix,
                         event_search, history_charts with time_chart and event_marks, findings
forms                    what forms share: two steps, and what a refusal shows. changes, failover,
                         migration, pause, settings, tokens, new_pool: the pages with one
listing                  words to look for, orders and pages of lists
shard_list, shard_rows   which shards a browser lists, and what it is told of their rows
shown_board              renders what browsers show alike once
upstream                 calls to the metaserver; feed, feed_registry, history: its live stream
__main__                 `python -m dashboard`: the app under `cachemesh.serving`
"""
