"""Clients and browsers that wait for news of a pool.

    client_registry  the clients that watch: the version each acts on, and its lease
    change_hub       wakes held watch calls, and feeds event streams, at each change

Imports `metaserver.store` and what is below it; never `api`, `service` or `loops`.
"""
