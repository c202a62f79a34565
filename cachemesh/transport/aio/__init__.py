"""The asyncio transport: all tasks share one connection to each instance.

- `shard`, `shard_retry`: one shard: the first attempt at a request, and those after it.
- `instance`, `probed_instance`, `connection`: one redis-server, and one socket to it.
- `scatter_gather`, `replica_reads`: requests to several shards; reads from replicas too.
- `pool`, `mesh_pool`, `handshake`: connections of redis-py's own kind, and how each is opened.

`scripts/generate-sync` writes `shard_retry`, `probed_instance`, `replica_reads`, `pool`,
`mesh_pool` and `handshake` of `cachemesh.transport.sync` from those here.
"""
