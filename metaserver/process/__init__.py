"""The settings, the clock and the identity of one metaserver process.

    config      its settings, with the user names and passwords for Redis and Sentinel
    bell        wakes whoever waits for news
    clock       times as the API writes them, and elapsed times that no clock change affects
    identity    its identity among the processes of the machine, and whether another still runs
    turns       lets other greenlets run in the midst of long work

Imports only `cachemesh.core`.
"""
