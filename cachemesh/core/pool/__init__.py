"""What defines a pool, and what its clients route by. No I/O.

- `document`: the pool document, versioned JSON.
- `settings`: the pool's settings, which running clients apply.
- `topology`: a pool document with the masters and replicas of its shards.
"""
