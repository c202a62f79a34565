"""The blocking transport: each thread holds a connection for one exchange.

- `shard`: the first attempt at a request, and how a thread waits; `shard_retry`: later attempts.
- `instance`: a stack of idle connections; `probed_instance` opens each `connection`.
- `scatter_gather`: writes `sub_requests` to all shards, then reads from all.
- `replica_reads`: asks replicas too.
- `pool` and `mesh_pool` hold connections of redis-py's own kind; `handshake` opens one.
"""
