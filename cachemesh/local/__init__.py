"""Real Redis, Sentinel, metaserver and dashboard processes on this machine."""

from .process import Process
from .stack import LocalStack

__all__ = ["LocalStack", "Process"]
