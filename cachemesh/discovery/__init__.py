"""Where a topology comes from, and how it is kept current. Imports `core` and `transport`.

- `url`, `source` (`metaserver_source`, `sentinel_source`, `file_source`): a pool's document.
- `metaserver`, `http_reply`: the HTTP client of the metaserver.
- `sentinel`, `sentinel_connection`, `sentinel_events`: look-ups and failover events of Sentinels.
- `topology_state`, `follower`, `membership`: the current topology, and who keeps and shares it.
- `backoff`, `wakeup`: repeats what failed, and interrupts threads that wait.
- `survey`: asks all Sentinels or instances at once, for people who look at a pool.
"""
