"""The control plane of CacheMesh: pools, shards, tokens, and the watch that clients follow."""
