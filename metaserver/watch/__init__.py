"""Clients and browsers that wait for news of a pool.

    client_table     the clients that watch this process: the version each acts on, and its lease
    client_registry  the clients of all processes: which act on which version, and which lag
    quality_board    what the clients of all processes feel of their pools
    participants     the clients as a resize sees them: who has acknowledged, who lags
    change_hub       wakes held watch calls, and feeds event streams, at each change

Imports `metaserver.store` and what is below it; never `api`, `service` or `loops`.
"""
