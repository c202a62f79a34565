"""Planned failover: a master hands over to a replica, and no acknowledged write is lost.

    survey        who is who; everything that may be refused is refused here
    leader        a Sentinel that is about to look at the replica anyway, so that it will notice
                  the promotion, and tell clients, at once
    pause         CLIENT PAUSE WRITE on the master; wait until every replica that Sentinel could
                  choose has all of it
    promote       SENTINEL FAILOVER, and ROLE of the replicas until one is master
    demote        REPLICAOF it on the old master while that is still paused: each write that
                  waited is answered READONLY, which means that it has not run
    announce      CLIENT UNPAUSE; the Sentinels agree; what was set for the time is put back

Any failure goes to `settle`, which finishes if a replica was promoted, and goes back if none was.
A metaserver that dies leaves a `Failover` in the store, and repair settles that.

Why nothing is lost even if nobody comes to settle it: together with the pause, the master gets
`min-replicas-to-write` as high as the number of its replicas. Once one of them is promoted, and so
is no replica any more, the old master refuses writes (NOREPLICAS) when the pause runs out, until
the Sentinels make it a replica, some 10 to 20 s later. A long pause would not do in its place:
Sentinels PUBLISH on the master, which waits for the pause too, and the REPLICAOF that they send on
the same connection waits behind it.
"""
