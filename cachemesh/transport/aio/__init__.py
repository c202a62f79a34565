"""The asyncio transport: all tasks share one connection to each instance.

- `shard`, `shard_retry`: one shard: the first attempt at a request, and those after it.
- `instance`, `probed_instance`, `connection`: one redis-server, and one socket to it.
- `scatter_gather`, `sub_requests`: requests to several shards at once. `replica_reads`: reads.
- `pool`, `mesh_pool`, `handshake`: connections of redis-py's own kind, and how each is opened.

`scripts/generate-sync` writes those of `cachemesh.transport.sync` from these, but for `shard`,
`instance`, `connection` and `scatter_gather`, which wait in another way.
"""
