"""The background loops, which only the leading process runs.

    term             runs the others for as long as the process leads
    keyed_workers    work on several pools or sweeps at once, on each by one worker
    monitor          observes every pool, keeps its status, records changes as events
    history_recorder writes every pool's figures into the history file
    resize           takes each resize from phase to phase
    resized_clients  which version they act on, and what wakes the loops
    resize_shards    what a resize does at shards: clears, looks, fences
    source_moves     the moves of all shards that lose keys in one stage, and how far they are
    key_mover        the move of one of them: SCAN, and a pull of each batch
    stale_copies     removes older copies of keys from there, before they move back
    move_targets     the shards that gain keys
    latency_probe    how quickly shards answer meanwhile
    agreed_masters   which masters a resize may ask: those that all Sentinels name
    stage_move       what such moves read from the store and write there
    fence_keeper     keeps fences up until the last fenced client has acknowledged
    planned_work     tells which work on shards goes as planned; that explains their state
    sweep            removes keys from former owners, one instance after the other
    instance_sweep   removes such keys from one instance
    repair           has the Sentinels monitor what they should, resolves unattended failovers

Imports `service`, `failover`, and what is below them; never `api`.
"""
