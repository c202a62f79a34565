"""The background loops, which only the leading process runs.

    leader_election  which of several processes leads
    monitor          observes every pool, keeps its status, records changes as events
    planned_work     which work on shards goes as planned, and explains their state
    sweep            removes keys from former owners, one instance at a time by
    instance_sweep   the sweep of one instance
    repair           has the Sentinels monitor what they should, resolves unattended failovers

Imports `service`, `failover`, and what is below them; never `api`.
"""
