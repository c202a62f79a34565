"""The rules of pools and shards, as pure functions and values: no I/O, no clock, no HTTP.

    errors          RequestRefused: every reason for which a request is refused
    pool_state      what is known of a pool: its document, sweeps, intents, failovers, work
    audit_log       the entries of the audit log
    pool_pause      a pause of a pool, as the pool document holds it
    webhook         events that are posted to a URL: body, signature, delays
    planning        a change of a pool, worked out: the document after, the keys that move
    fence_record    which clients are fenced, as the pool document holds it
    resize          a resize under way, as the pool document holds it, and its transitions
    resize_move     the documents of a resize that moves keys
    resize_status   a resize under way as the API shows it
    move_progress   how far keys have moved, as the leader tells it while they do
    move_pace       how fast they may move, by an operator's bounds
    batch_size      how many are copied at once, so that their source is not blocked for long
    large_keys      which keys are too large to be moved
    resize_steps    what the leader does next about a resize: one decision from what it knows
    sentinel_view   what one Sentinel says about the shards that it monitors
    info_fields     reading the fields of INFO
    shard_state     the state of a shard: up, joining, failing over, degraded or down
    status          the status document of a pool, from what instances and Sentinels say
    client_reports  what each metaserver publishes about its clients, and what all of it says
    quality         what apps feel of the shards: sums of reports, in bounded rings
    published_quality  what one process tells the others of that
    history         what is kept of a pool's figures over time, and how they add up
    diagnosis       what is configured wrong: facts of instances and Sentinels --> findings
    reports         changes between two observations, as entries of the audit log

Imports only `cachemesh.core`.
"""
