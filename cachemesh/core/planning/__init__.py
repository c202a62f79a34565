"""From a call to sub-requests for shards, and from their replies to one reply. No I/O.

- `plan`, `split`, `merge`, `info_merge`: commands by their keys, split over shards and merged
  again.
- `keyless`: the rules for commands without keys. `unknown_commands`: asks a server about the
  others.
- `pipeline`, `pipeline_parts`: a pipeline's commands by shard, and the replies in order.
- `scan_cursor`: SCAN over all shards. `subscriptions`: the shards that pub/sub listens to.
- `miss_replies`: the reply in place of an error with ``on_error="miss"``. `stuck_keys`: which part
  of a call that is, where keys move.
"""
