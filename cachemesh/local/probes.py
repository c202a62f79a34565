"""Probes: each returns None if the process at an address answers, else what is missing."""

from __future__ import annotations

import http.client
import socket

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachemesh.core.names import Address
from cachemesh.discovery.metaserver_tls import MetaserverTls
from cachemesh.local.tls import StackTls, redis_options_of

_TIMEOUT = 0.5  # seconds a probe waits for an answer


def connect(address: Address, timeout: float = 5.0, tls: StackTls | None = None) -> redis.Redis:
    """Return a redis-py client of one instance or Sentinel, without retries; close it after use.

    Args:
        address: of the instance or Sentinel.
        timeout: seconds to connect, and for each reply.
        tls: of a stack whose servers speak it.
    """
    return redis.Redis(
        host=address.host,
        port=address.port,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
        **redis_options_of(tls),
    )


def answers_ping(address: Address, tls: StackTls | None = None) -> str | None:
    """Probe a redis-server or Sentinel by PING; a demand for a password is an answer."""
    client = connect(address, _TIMEOUT, tls)
    try:
        client.ping()
    except (redis.AuthenticationError, redis.ResponseError):
        return None
    except redis.RedisError as error:
        return f"PING: {error}"
    finally:
        client.close()
    return None


def answers_ready(address: Address, tls: MetaserverTls | None = None) -> str | None:
    """Probe a metaserver: GET /readyz must answer 200."""
    return _get(address, "/readyz", (200,), tls)


def answers_http(address: Address, tls: MetaserverTls | None = None) -> str | None:
    """Probe a dashboard: GET /login must answer with a page or a redirect."""
    return _get(address, "/login", (200, 302, 303), tls)


def _get(
    address: Address, path: str, good: tuple[int, ...], tls: MetaserverTls | None
) -> str | None:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=2 * _TIMEOUT)
    if tls is not None:
        connection = http.client.HTTPSConnection(
            address.host, address.port, timeout=2 * _TIMEOUT, context=tls.context()
        )
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"GET {path}: {error}"
    finally:
        connection.close()
    return None if status in good else f"GET {path} answered {status}"


def answers_zookeeper(address: Address) -> str | None:
    """Probe a ZooKeeper by the four-letter command `srvr`: the reply must tell its mode."""
    try:
        reply = _srvr(address)
    except OSError as error:
        return f"srvr: {error}"
    return None if "Mode:" in reply else f"srvr: {reply[:80]}"


def zookeeper_mode(address: Address) -> str | None:
    """Return "leader", "follower" or "standalone"; None if the ZooKeeper does not tell."""
    try:
        reply = _srvr(address)
    except OSError:
        return None
    modes = [line.partition(": ")[2] for line in reply.splitlines() if line.startswith("Mode:")]
    return modes[0] if modes else None


def _srvr(address: Address) -> str:
    with socket.create_connection(address, timeout=_TIMEOUT) as connection:
        connection.sendall(b"srvr")
        connection.settimeout(_TIMEOUT)
        return connection.makefile("rb").read().decode(errors="replace")


def replica_attached(address: Address, tls: StackTls | None = None) -> str | None:
    """Probe a replica: ROLE must say that it is connected to its master."""
    client = connect(address, _TIMEOUT, tls)
    try:
        role = client.role()
    except redis.RedisError as error:
        return f"ROLE: {error}"
    finally:
        client.close()
    return None if role[0] == "slave" and role[3] == "connected" else f"ROLE: {role}"
