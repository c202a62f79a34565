"""How soon a change of a pool reaches all clients that watch it, and what else waits meanwhile.

fleet      the clients: raw sockets of one process, each with a watch call
prober     calls of the API, one after the other, while the clients are told
__main__   `python -m benchmarks.fan_out`: the metaserver, the changes, the figures
"""
