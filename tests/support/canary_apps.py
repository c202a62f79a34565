"""What apps do with a deployment of canaries: all their objects' texts, and wrong logins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import redis

from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.core.errors import CacheMeshError
from cachemesh.discovery.url import parse_url
from tests.support.canary_site import IN_URL, WRONG, ZOOKEEPER, Site
from tests.support.waiting import until

_LONG, _MOST = 100, 2_000  # elements of a container that is looked into; objects looked at


def drive_clients(site: Site, snapshots: Path) -> None:
    where = {"snapshot_dir": str(snapshots)}
    token = {"token": site.secret("token reader")}
    login = {"zookeeper_auth": f"meta:{site.secret(ZOOKEEPER)}"}
    urls = {
        "cachemesh": site.url(**where, **token),
        "cachemesh+sentinel": site.url("cachemesh+sentinel", **where),
        "cachemesh+zk": site.url("cachemesh+zk", **where, **token, **login),
    }
    for scheme, url in urls.items():
        with CacheMesh.from_url(url) as mesh:
            until(partial(mesh.with_options(on_error="miss").set, "k", "v"))
            show(site, scheme, mesh)
            with suppress(redis.RedisError):
                mesh.execute_command("NOSUCH", "k")
            try:
                mesh.lpush("k", "x")
            except redis.RedisError as error:
                site.failed("lpush", error)
        mesh_url = parse_url(url, {})
        parts = (mesh_url, mesh_url.sentinel_options, mesh_url.make_source(), mesh_url.snapshot)
        site.evidence.add(f"{scheme} URL", "\n".join(f"{part!r} {part}" for part in parts))

    async def use() -> None:
        async with AsyncCacheMesh.from_url(urls["cachemesh"]) as mesh:
            await mesh.with_options(on_error="miss").set("k", "v")
            show(site, "asyncio", mesh)

    asyncio.run(use())


def show(site: Site, what: str, mesh: Any) -> None:
    """Keep the texts of a client and of all objects of ours that can be reached from it."""
    site.evidence.add(f"health of {what}", f"{mesh.health()!r} {dict(mesh.health())}")
    made = (mesh.pipeline(), mesh.pubsub(), mesh.lock("l"))
    site.evidence.add(f"what {what} makes", repr(made))
    for each in reachable(mesh):
        site.evidence.add(f"text of a {type(each).__name__} of {what}", f"{each!r} {each}")


def reachable(start: object) -> Iterator[object]:
    """Yield the objects of ours and of redis-py that can be reached from one."""
    seen, waiting = {id(start)}, [start]
    while waiting and len(seen) < _MOST:
        each = waiting.pop()
        held: list[object] = []
        if isinstance(each, dict) and len(each) <= _LONG:
            held = list(each.values())
        elif isinstance(each, (list, tuple, set, frozenset)) and len(each) <= _LONG:
            held = list(each)
        elif type(each).__module__.startswith(("cachemesh", "redis.")):
            yield each
            held = list(getattr(each, "__dict__", {}).values())
            slots = [name for kind in type(each).__mro__ for name in getattr(kind, "__slots__", ())]
            held += [getattr(each, name, None) for name in slots]
        for one in held:
            if id(one) not in seen:
                seen.add(id(one))
                waiting.append(one)


def drive_wrong_logins(site: Site) -> None:
    wrong, in_url = site.secret(WRONG), site.secret(IN_URL)
    attempts: dict[str, Callable[[], Any]] = {
        "a wrong password": lambda: use_once(site.url(password=wrong)),
        "a wrong password, Sentinels alone": lambda: use_once(
            site.url("cachemesh+sentinel", password=wrong)
        ),
        "a wrong Sentinel password": lambda: use_once(
            site.url("cachemesh+sentinel", sentinel_password=wrong)
        ),
        "a wrong token": lambda: use_once(site.url(token=wrong)),
        "a wrong key password": lambda: use_once(site.url(ssl_password=wrong)),
        "a wrong digest": lambda: use_once(
            site.url("cachemesh+zk", zookeeper_auth=f"meta:{wrong}", token=wrong)
        ),
        "a malformed digest": lambda: use_once(site.url("cachemesh+zk", zookeeper_auth=wrong)),
        "user information": lambda: CacheMesh.from_url(f"cachemesh://user:{in_url}@h:1/cache"),
        "a wrong scheme": lambda: CacheMesh.from_url(f"redis://:{in_url}@h:1/0"),
        "no scheme": lambda: CacheMesh.from_url(f"user:{in_url}@h:1/cache"),
        "a password as option": lambda: CacheMesh.from_url(site.url(), socket_timeout=in_url),
        "a password as its name": lambda: CacheMesh.from_url(site.url() + f"&db={in_url}"),
        "a token file that is none": lambda: use_once(site.url(token_file="/nowhere")),
        "nobody there": lambda: use_once(site.url().replace(site.metaserver, "127.0.0.1:1")),
        "no Sentinel": lambda: use_once(
            site.url("cachemesh+sentinel").replace(f":{site.sentinel}", ":1")
        ),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except (CacheMeshError, redis.RedisError, ValueError, TypeError) as error:
            site.failed(name, error)
        else:
            raise AssertionError(f"{name} was accepted")


def use_once(url: str, **options: Any) -> None:
    with CacheMesh.from_url(url, snapshot_dir="off", command_timeout=2.0, **options) as mesh:
        mesh.get("k")
