"""Every figure the docs quote, peers side by side on this machine: ``python -m benchmarks``.

A *workload* is what is done, a *peer* is who does it. Both are looked up in the tables of their
packages, so that a new one is one module and one line.
"""
