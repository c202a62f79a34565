"""What defines a pool, and what its clients route by. No I/O.

- `document`: the pool document, versioned JSON.
- `settings`: the pool's settings, which running clients apply.
- `topology`: a pool document with the masters and replicas of its shards.
- `snapshot`: a topology as the text of a file, for when the control plane is gone.
- `topology_health`: how current what a client routes by is.
"""
