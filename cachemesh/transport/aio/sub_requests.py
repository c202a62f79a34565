"""The types of requests to several shards at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cachemesh.core.planning.pipeline_parts import Part
from cachemesh.transport.aio.shard import ShardClient

Requests = Sequence[tuple[ShardClient, tuple[Any, ...]]]
"""A shard and a command for it, each."""

ReadRequests = Sequence[tuple[ShardClient, tuple[Any, ...], Sequence[bytes]]]
"""A shard, a command for it, and the keys that the command reads, each."""

PartRequests = Sequence[tuple[ShardClient, Part]]
"""A shard and its part of a pipeline, each."""
