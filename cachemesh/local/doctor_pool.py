"""Looking at a running pool: metaserver, token, Sentinels, masters and clocks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachemesh.core.errors import (
    CacheMeshError,
    MetaserverError,
    MetaserverUnavailableError,
)
from cachemesh.core.names import Address, parse_address
from cachemesh.core.pool import PoolDocument
from cachemesh.discovery.url import MeshUrl, parse_url

from .checks import Check, fail, failed, ok, warn
from .probes import answers_ready

_TIMEOUT = 2.0  # seconds an instance or Sentinel has to answer
_SKEW = 1.0  # seconds two clocks may differ


def examine_pool(
    url: str | None, token_file: str | None, environ: Mapping[str, str]
) -> Iterator[Check]:
    """The pool that a client on this machine would use; none of the checks raises."""
    if not (url or environ.get("CACHEMESH_URL")):
        yield warn("pool", "CACHEMESH_URL is not set", "`cachemesh up` prints one to export")
        return
    try:
        options = {} if token_file is None else {"token_file": token_file}
        metaserver = (url or environ["CACHEMESH_URL"]).startswith("cachemesh://")
        mesh = parse_url(url, options if metaserver else {}, environ)
    except CacheMeshError as error:
        yield failed("pool URL", error, "see: cachemesh up --help")
        return
    yield ok("pool URL", mesh.shown)
    if mesh.scheme == "cachemesh":
        for address in mesh.addresses:
            yield _check_metaserver(parse_address(address))
    try:
        document = mesh.source.load()
    except (CacheMeshError, redis.RedisError) as error:
        yield _not_loaded(error)
        return
    if mesh.scheme == "cachemesh":
        yield ok("token", "accepted")
    names = document.placement.names
    yield ok("pool", f"{document.pool!r} at version {document.version}, {len(names)} shards")
    yield from _examine_shards(mesh, document)


def _check_metaserver(address: Address) -> Check:
    name = f"metaserver {address}"
    missing = answers_ready(address)
    if missing is not None:
        return fail(name, missing, "is it running, and is the address in CACHEMESH_URL right?")
    return ok(name, "ready")


def _not_loaded(error: Exception) -> Check:
    if isinstance(error, MetaserverError) and error.status in (401, 403):
        name, step = "token", "set CACHEMESH_TOKEN_FILE to the file with the metaserver's token"
    elif isinstance(error, MetaserverUnavailableError):
        name, step = "pool", "start a metaserver"
    else:
        name, step = "pool", "see: cachemesh pool list"
    return failed(name, error, step)


def _examine_shards(mesh: MeshUrl, document: PoolDocument) -> Iterator[Check]:
    sentinels = [parse_address(text) for text in document.sentinels]
    if not sentinels:
        yield fail("sentinels", "the pool names none", "see: cachemesh sentinel list")
        return
    names = document.placement.names
    masters: dict[str, Address] = {}
    for sentinel in sentinels:
        yield _check_sentinel(mesh, sentinel, names, masters)
    for name in names:
        if name in masters:
            yield _check_master(mesh, name, masters[name])
        else:
            yield fail(f"master {name}", "no Sentinel names one", "cachemesh sentinel list")


def _check_sentinel(
    mesh: MeshUrl, sentinel: Address, names: Sequence[str], masters: dict[str, Address]
) -> Check:
    """Reachable, and able to agree on a failover of every shard; notes the masters it names."""
    name, options = f"sentinel {sentinel}", mesh.sentinel_options
    client = _connect(sentinel, {"username": options.username, "password": options.password})
    problems = []
    try:
        client.ping()
        for shard in names:
            at = _sentinel(client, "GET-MASTER-ADDR-BY-NAME", shard)
            if at is None:
                problems.append(f"{shard}: not monitored")
                continue
            masters.setdefault(shard, Address(str(at[0]), int(at[1])))
            try:
                _sentinel(client, "CKQUORUM", shard)
            except redis.ResponseError as error:
                problems.append(f"{shard}: {error}")
    except redis.RedisError as error:
        return failed(name, error, "start it, or check its address and password")
    finally:
        client.close()
    if problems:
        return fail(name, "; ".join(problems), "start the Sentinels that are down")
    return ok(name, f"monitors all {len(names)} shards with a usable quorum")


def _check_master(mesh: MeshUrl, shard: str, address: Address) -> Check:
    """Answers, is a master, and has our time."""
    name = f"master {shard} {address}"
    client = _connect(address, mesh.options)
    try:
        role = _text(client.role()[0])
        seconds, micros = client.time()
    except redis.AuthenticationError as error:
        return failed(name, error, "put the right username and password into the URL's options")
    except redis.RedisError as error:
        return failed(name, error, "see: cachemesh pool status")
    finally:
        client.close()
    if role != "master":
        step = "Sentinel puts this right within seconds; look again"
        return fail(name, f"its role is {role}, though Sentinel calls it master", step)
    skew = abs(time.time() - (seconds + micros / 1e6))
    if skew > _SKEW:
        step = "let NTP set the clocks: TTLs and leases are counted by them"
        return warn(name, f"its clock is {skew:.1f} s off this machine's", step)
    return ok(name, f"role master, clock {skew * 1000:.0f} ms off")


def _connect(address: Address, options: Mapping[str, Any]) -> redis.Redis:
    kept = {key: value for key, value in options.items() if key not in ("retry", "db")}
    limits = {"socket_timeout": _TIMEOUT, "socket_connect_timeout": _TIMEOUT}
    return redis.Redis(
        host=address.host, port=address.port, **{**kept, **limits, "retry": Retry(NoBackoff(), 0)}
    )


def _sentinel(client: redis.Redis, *words: str) -> Any:
    reply = client.execute_command("SENTINEL", *words)  # type: ignore[no-untyped-call]
    return [_text(part) for part in reply] if isinstance(reply, list) else reply


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
