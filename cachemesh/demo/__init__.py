"""The demo: a whole CacheMesh on this machine under load, through a failover and a resize.

__main__    the demo's stack, load and report: ``python -m cachemesh.demo``, or ``scripts/demo``
story       what happens to the stack during the load
timeline    what happened when
screen      how the demo looks on a terminal and elsewhere
"""
