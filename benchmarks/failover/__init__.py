"""Measures what an app sees when a master fails, with CacheMesh and with redis-py.

``python -m benchmarks.failover --help``, or ``scripts/bench-failover`` in a clone.

site, faults       a stack to fail, and what fails in it
writer, values     one writer: its commands, and its judgement of the replies; load: many of them
trial, checker     load + fault + check of every acknowledged write, to an outcome
forwarder          a TCP forwarder before a Sentinel, which counts look-ups and can fall silent
contenders/        the clients behind one interface; cases/: a row of the table each
"""
