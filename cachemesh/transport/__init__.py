"""Bytes on sockets: what sends requests to instances. Imports nothing of ours but `core`.

- `sync`, `aio`: connections for threads, and connections that asyncio tasks share. They are twins:
  the same files, classes and methods. See `cachemesh.transport.aio` for which are generated.
- `shard_base`, `shard_instances`, `instance_base`, `mesh_pools`: what both are made of.
- `redis_py`, `name_resolution`, `role_check`: all that is used of redis-py, and its handshake.
- `replication_probe`, `replication_rounds`, `measured_instance`: measures replicas, by threads.
- `master_locator`, `unavailable`: who knows the masters; what an app is told of a failure.
"""
