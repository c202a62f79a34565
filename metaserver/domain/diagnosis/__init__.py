"""What is configured wrong in a pool: facts --> findings, by one function for each rule.

    facts              what is known of a pool's instances and Sentinels
    finding            what a rule has found: what is where, what follows, what to type
    settings           reading values of CONFIG GET
    sentinel_rules     how many Sentinels, their quorum, what they know of each other
    sentinel_links     what they reach, and how soon they act
    failover_rules     whether a replica can take over, and the old master come back
    replication_rules  links of replicas, what they copy and serve
    memory_rules       maxmemory, eviction, memory of machines
    server_rules       connections, persistence, versions, TLS
    access_rules       rights, renamed commands, who may log in
    clocks             whose clock is off
    rules              all of them, and which facts each needs

docs/doctor.md describes every rule for operators.
"""
