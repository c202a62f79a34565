"""Which instance of a shard answers a read."""
