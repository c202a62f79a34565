"""The control plane of CacheMesh: pools, shards, tokens, and the watch that clients follow.

    cli, __main__   the command `cachemesh-metaserver`
    password_options, redis_tls_options, webhook_options, zookeeper_options   groups of its options
    runtime         the parts of one process, and its background loops
    observing       a metaserver that shows what Sentinels monitor, without a store
    api             the HTTP API
    loops           what the leading process does in the background: monitor, sweep, repair
    webhooks        events of the audit log, posted to URLs by the leading process
    service         the use cases
    failover        planned failover
    watch           held watch calls, event streams, and the registry of clients
    redis_io        connections to instances and Sentinels
    store           what is remembered, in SQLite
    process         settings, clock and identity of one process
    domain          the rules of pools and shards: pure functions and values

Imports point down this list: domain, process <- store, redis_io <- failover <- service <- loops
<- api <- runtime <- cli; watch stands on the store, webhooks on redis_io too, both below api.
tests/unit/repo/test_architecture.py holds these arrows.
"""
