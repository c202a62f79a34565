"""Measures every figure that the docs quote, clients side by side: ``python -m benchmarks``.

workloads/   what is measured, such as GET or MGET; peers/: the clients that are measured
arena        one run's servers and connected peers; servers, cluster, proxy, cores: what it uses
measure      rounds in which every peer has its turn; figures: medians and ratios of these
goals        the figures that the project promises; report, plot, placement: how figures are shown
failover/    what an app sees when a master fails

A new workload or peer is one module, and one line in the table of its package.
"""
