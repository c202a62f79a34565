"""CacheMesh as a contender, blocking and for asyncio."""

from __future__ import annotations

from typing import Any

from benchmarks.failover.contenders.base import (
    AsyncContender,
    AsyncContenderClient,
    Contender,
    ContenderClient,
)
from benchmarks.failover.site import Site
from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh


class _Mesh:
    def __init__(self, mesh: CacheMesh) -> None:
        self.mesh = mesh
        self._send: Any = mesh.execute_command

    def call(self, shard: str, *words: str) -> Any:
        return self._send(*words)

    def close(self) -> None:
        self.mesh.close()


class _AsyncMesh:
    def __init__(self, mesh: AsyncCacheMesh) -> None:
        self.mesh = mesh
        self._send: Any = mesh.execute_command

    async def call(self, shard: str, *words: str) -> Any:
        return await self._send(*words)

    async def close(self) -> None:
        await self.mesh.aclose()


class Mesh(Contender):
    """`cachemesh.CacheMesh`, one for all threads."""

    name = "cachemesh"
    ours = True

    def connect(self, site: Site, **options: Any) -> ContenderClient:
        return _Mesh(CacheMesh.from_url(site.url, **site.credentials, **options))


class AsyncMesh(AsyncContender):
    """`cachemesh.asyncio.CacheMesh`, one for all tasks."""

    name = "cachemesh-asyncio"
    ours = True

    async def connect(self, site: Site, **options: Any) -> AsyncContenderClient:
        return _AsyncMesh(AsyncCacheMesh.from_url(site.url, **site.credentials, **options))
