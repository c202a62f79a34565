"""A whole CacheMesh of real processes on this machine, for `cachemesh up`, the demo and tests.

stack           `LocalStack`, the public class; options: its checked options
builder         starts and stops all of a stack; launcher, recipes, configs: its processes
process         one process; reaper (a program) and reaper_client: none outlives its stack
sentinels       what the Sentinels monitor; probes: whether a process answers
state           the directory of a stack: lock, stack.json, logs; tls: its certificates
pids, ports, memory, binaries   what the machine has
foreground, background, shutdown, stack_status   behind `cachemesh up`, `down` and `status`
doctor/         behind `cachemesh doctor`; pytest_plugin: its fixtures for tests
"""

from .process import Process
from .stack import LocalStack

__all__ = ["LocalStack", "Process"]
