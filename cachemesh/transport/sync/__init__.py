"""The blocking transport: each thread holds a connection for one exchange.

- `shard`, `shard_retry`: one shard: the first attempt at a request, and those after it.
- `instance`, `probed_instance`, `connection`: one redis-server, and one socket to it.
- `scatter_gather`, `replica_reads`: requests to several shards; reads from replicas too.
- `pool`, `mesh_pool`, `handshake`: connections of redis-py's own kind, and how each is opened.
"""
