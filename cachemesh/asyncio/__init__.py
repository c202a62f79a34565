"""CacheMesh for asyncio: a drop-in for `redis.asyncio.Redis`.

client            CacheMesh: a command to its shards
planned_commands  commands that take a plan: who is asked, and what the replies come to
core              loading the route table in an event loop, and closing
pipeline          Pipeline: commands queued, one write per shard
pubsub            PubSub: channels and patterns over shards
listener          one shard's subscription connection, and the task that reads it
handler_loop      a task's loop that calls handlers
"""

from cachemesh.asyncio.client import CacheMesh

__all__ = ["CacheMesh"]
