"""A whole CacheMesh on this machine under load, through a failover and a resize.

``python -m cachemesh.demo``, or ``scripts/demo`` in a clone.
"""
