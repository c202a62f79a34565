"""Connections to Redis and Sentinel processes, bounded in time, bytes and addresses.

    allowed_networks    the only place that opens a connection, and where one may go
    resp                reading RESP2 replies from servers that may be hostile
    tls                 TLS over such a connection
    reply_parsers       replies to INFO, ROLE and SENTINEL commands as values
    bounded_connection  one connection, and asking many at once
    client_list         the connections of an instance: whose they are, and the end of some of them
    shard_masters       asking the masters of many shards, where they were known last
    term_fence          connections of one term of the leader, which shut out those of earlier terms
    admission           what an instance must be before it becomes a shard's master
    fence               fencing off clients: the marker, and the killing of connections
    key_scan            going through all keys of a master
    key_sampler         looking at some keys of a shard: which leave it, and their sizes
    pull_link           how keys get from one shard to another
    move_probe          whether they can: test keys are moved
    slow_log            SLOWLOG of instances
    open_connections    the connections of an instance, by app
    late_answers        rounds of questions that no server which hangs delays
    instance_sampler    INFO of a pool's instances
    pool_facts          what rules about a pool's configuration look at
    user_rights         which rights the metaserver's user lacks
    sentinel_group      the Sentinels of a pool: asking them, registering shards with them
    sentinel_replies    what one Sentinel says about shards, as a `SentinelView` has it

Imports `metaserver.domain` and `metaserver.process`; never the store or what serves requests.
"""
