"""The clients that take part, each behind the interface of `base`; `CONTENDERS` lists them."""

from __future__ import annotations

from .base import AsyncContender, Contender
from .mesh import AsyncMesh, Mesh
from .redis_py import AsyncRedisPy, RedisPy, RedisPyDirect, RedisPyRetrying

CONTENDERS: dict[str, Contender | AsyncContender] = {
    contender.name: contender
    for contender in (
        Mesh(),
        AsyncMesh(),
        RedisPy(),
        AsyncRedisPy(),
        RedisPyRetrying(),
        RedisPyDirect(),
    )
}

__all__ = ["CONTENDERS", "AsyncContender", "Contender"]
