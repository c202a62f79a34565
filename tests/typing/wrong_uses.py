"""Wrong uses of the public API, each of which mypy refuses with the error that stands beside it.

Under ``warn_unused_ignores`` an ``ignore`` without its error is an error, so mypy checks both ways.
"""

from __future__ import annotations

from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.core.placement import Placement, Shard


def the_sync_client(mesh: CacheMesh) -> None:
    CacheMesh()  # type: ignore[call-arg]
    CacheMesh.from_url(7)  # type: ignore[arg-type]
    mesh.shard_for(7)  # type: ignore[arg-type]
    mesh.get("k").decode()  # type: ignore[union-attr]
    mesh.with_options("miss")  # type: ignore[call-arg]
    mesh.health()["cache-0"].open  # type: ignore[attr-defined]  # noqa: B018
    mesh.no_such_command()  # type: ignore[attr-defined]
    mesh.topology = None  # type: ignore[misc, assignment]


async def the_asyncio_client(mesh: AsyncCacheMesh) -> None:
    mesh.get("k").decode()  # type: ignore[attr-defined]
    await mesh.health()  # type: ignore[misc]
    with mesh:  # type: ignore[attr-defined]
        pass


def one_client_for_the_other(mesh: AsyncCacheMesh) -> CacheMesh:
    return mesh  # type: ignore[return-value]


def placements() -> None:
    Placement()  # type: ignore[abstract]
    Shard("cache-0").weight = 2  # type: ignore[misc]
    Shard(name=7)  # type: ignore[arg-type]
