"""Which instance of a shard answers a read. No I/O, no clock.

- `read_preference`: the policy, and the order in which instances are asked.
- `read_loop`: the loop over instances after a first one failed, as a generator of steps.
- `recent_writes`: when this client wrote to a key, for read-your-writes.
- `replication_lag`, `replication_status`: up to when a replica has all writes, and what tells it.
- `load_weights`: how much of the reads each instance gets.
"""
