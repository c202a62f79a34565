"""Planned failover: a master hands over to a replica, and no acknowledged write is lost.

    preconditions         everything for which a failover is refused; then which replica takes over
    sentinel_choice       which Sentinel begins, and when: the one due to send INFO next, so that it
                          notices the promotion at once and tells clients
    handover              pause:    CLIENT PAUSE WRITE on the master, until every replica that
                                    Sentinel could choose has all writes
                          promote:  SENTINEL FAILOVER, and ROLE of the replicas until one is master
                          demote:   REPLICAOF on the old master while it is still paused: each
                                    waiting write is answered READONLY, so it has not run
                          announce: CLIENT UNPAUSE, and the Sentinels agree
    resolution            after any failure: finish if a replica was promoted, else go back
    recovery              the same for a failover whose metaserver died, called by repair
    unresolved            why a failover cannot be resolved yet
    saved_settings        the settings changed for the time of the failover, and restoring them
    participants          the instances and Sentinels that take part:
    participant_instance  the commands to an instance
    participant_sentinel  the commands to a Sentinel, and its rule of choice

Nothing is lost even if no process ever resolves the failover: together with the pause, the master
gets `min-replicas-to-write` as high as the number of its replicas. A promoted replica is no replica
any more, so the old master refuses writes (NOREPLICAS) once the pause runs out, until the Sentinels
make it a replica, some 10 to 20 s later. A long pause could not replace this: Sentinels PUBLISH on
the master, which waits for the pause too, and behind it, on the same connection, their REPLICAOF.

Imports `redis_io`, `store` and what is below them; never `service`, `loops` or `api`.
"""
