"""The use cases of the metaserver: what requests do, free of HTTP.

    context       what every use case works with; reading, checking and storing a pool
    change        the outcome of a change of a pool, as docs/api.md shows it
    pools         create a pool, change its settings, delete it
    pausing       pauses a pool, and resumes it
    shards        add a shard, set its weight, remove it
    placement     deals a pool's keys to its shards anew
    resizing      what a resize does, waiting for its end, giving one up
    registration  bringing instances into use: checked, registered with the Sentinels, or undone
    ahead         clients that are ahead of a store which was replaced by an older copy
    forgetting    the last steps of a shard that leaves
    failover      a planned failover of a shard
    diagnosis     what is configured wrong in a pool
    sweeps        giving up the sweep of a drained shard
    tokens        bearer tokens

Imports `failover`, `redis_io`, `store` and what is below them; never `loops`, `watch` or `api`.
"""
