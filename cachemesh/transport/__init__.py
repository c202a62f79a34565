"""Bytes on sockets: what sends requests to instances. Imports nothing of ours but `core`.

- `sync`, `aio`: connections for threads, and connections that asyncio tasks share. They are twins:
  the same files, classes and methods. See `cachemesh.transport.aio` for which are generated.
- `shard_base`, `shard_instances`, `instance_base`, `mesh_pools`: what both are made of.
- `redis_py`: use of redis-py's internals. `read_deadline`: bounds on its reads.
- `name_resolution`: DNS. `role_check`: the role check of the handshake.
- `replication_probe`, `replication_rounds`, `measured_instance`: threads that measure replicas.
- `lease_clock`: the clock of leases and time limits. `fence_check`: the check of a shard's fence.
- `master_locator`: looks up masters. `unavailable`: the errors that tell an app of a failure.
"""
