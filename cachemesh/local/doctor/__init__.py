"""What `cachemesh doctor` looks at: this machine, a pool, and the pool's shards."""
