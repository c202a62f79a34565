"""The client for threads: a `redis.Redis` over the shards of a pool."""
