"""What an app feels when a master goes away: CacheMesh and redis-py in the same harness.

``python -m benchmarks.failover --help``, or ``scripts/bench-failover`` in a clone.

values.py      values that say whose they are
writer.py      one writer: what it sends, and what it makes of the replies; knows no client
load.py        writers at work on a client, in threads or tasks
checker.py     what of the acknowledged is still there, on the masters in charge
site.py        a stack to fail, and who owns which key
faults.py      what goes wrong
trial.py       load + fault + check, to an outcome
forwarder.py   a TCP forwarder before a Sentinel: counts what it is asked, goes deaf when told
contenders/    the clients behind one interface
cases/         a row of the table each
"""
