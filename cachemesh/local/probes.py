"""Whether a process answers: each probe gives None when it does, else what is missing."""

from __future__ import annotations

import http.client
import socket

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachemesh.core.names import Address

_TIMEOUT = 0.5  # seconds a probe waits for an answer


def connect(address: Address, timeout: float = 5.0) -> redis.Redis:
    """A redis-py client for one instance or Sentinel, without retries. The caller closes it."""
    return redis.Redis(
        host=address.host,
        port=address.port,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


def answers_ping(address: Address) -> str | None:
    """A redis-server or Sentinel that answers PING, if only to ask for a password."""
    client = connect(address, _TIMEOUT)
    try:
        client.ping()
    except (redis.AuthenticationError, redis.ResponseError):
        return None
    except redis.RedisError as error:
        return f"PING: {error}"
    finally:
        client.close()
    return None


def answers_ready(address: Address) -> str | None:
    """A metaserver whose /readyz says 200."""
    return _get(address, "/readyz", (200,))


def answers_http(address: Address) -> str | None:
    """A web server that shows a page or sends us to another one."""
    return _get(address, "/login", (200, 302, 303))


def _get(address: Address, path: str, good: tuple[int, ...]) -> str | None:
    link = http.client.HTTPConnection(address.host, address.port, timeout=2 * _TIMEOUT)
    try:
        link.request("GET", path)
        status = link.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"GET {path}: {error}"
    finally:
        link.close()
    return None if status in good else f"GET {path} answered {status}"


def answers_zookeeper(address: Address) -> str | None:
    """A ZooKeeper that says it serves requests (four-letter command `srvr`)."""
    try:
        with socket.create_connection(address, timeout=_TIMEOUT) as link:
            link.sendall(b"srvr")
            link.settimeout(_TIMEOUT)
            said = link.makefile("rb").read()
    except OSError as error:
        return f"srvr: {error}"
    return None if b"Mode:" in said else f"srvr: {said[:80].decode(errors='replace')}"


def replica_attached(address: Address) -> str | None:
    """A replica whose link to its master is up."""
    client = connect(address, _TIMEOUT)
    try:
        role = client.role()
    except redis.RedisError as error:
        return f"ROLE: {error}"
    finally:
        client.close()
    return None if role[0] == "slave" and role[3] == "connected" else f"ROLE: {role}"
