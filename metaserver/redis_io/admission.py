"""Checks that an instance passes before it becomes the master of a shard."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import redis

from cachemesh.core.plurals import counted
from cachemesh.core.reads.replication_status import RoleReply
from metaserver.domain.info_fields import keys_in, replicas_in
from metaserver.process.config import RedisAuth
from metaserver.redis_io.allowed_networks import AllowedNetworks, InstanceRejected
from metaserver.redis_io.bounded_connection import BoundedConnection, ask_all, reason_of
from metaserver.redis_io.fence import marker_of
from metaserver.redis_io.reply_parsers import parse_info, parse_role
from metaserver.redis_io.tls import TlsError


@dataclass(frozen=True)
class InstanceReport:
    """The findings about a master that may become a shard; `address` has its IP address."""

    address: str
    run_id: str
    redis_version: str
    keys: int
    replicas: tuple[str, ...]


def check_new_master(
    address: str,
    auth: RedisAuth,
    *,
    allowed: AllowedNetworks,
    timeout: float = 2.0,
) -> InstanceReport:
    """Examine an instance, within about `timeout` seconds.

    Raises:
        InstanceRejected: for every reason but in-use, which `check_unused` finds, and not-empty,
            which `check_empty` finds.
        InvalidDocumentError: the address is not host:port.
    """
    end = time.monotonic() + timeout
    target = allowed.check(address, timeout=timeout)
    _require_listener(address, target, allowed, max(0.01, end - time.monotonic()))
    left = max(0.01, end - time.monotonic())
    connection = BoundedConnection(target, allowed, auth, left)
    try:
        answer = ask_all({address: connection}, _examine, within=left)[address]
    finally:
        connection.close()
    if isinstance(answer, redis.RedisError):
        raise _failed(address, answer, timeout) from answer
    role, info, markers = answer
    _require_master(address, role, info)
    return InstanceReport(
        address=target,
        run_id=info.get("run_id", ""),
        redis_version=info["redis_version"],
        keys=max(0, keys_in(info) - markers),
        replicas=tuple(replicas_in(info)),
    )


def check_unused(
    given: str,
    report: InstanceReport,
    masters: Mapping[str, str],
    auth: RedisAuth,
    *,
    allowed: AllowedNetworks,
    timeout: float = 2.0,
) -> None:
    """Check that an instance serves no shard yet, under this address or another.

    One instance may have many addresses, so each master in use is asked for its run_id, all at
    once. A master that does not answer, or lies outside the allowed networks, is compared by its
    address alone.

    Args:
        given: the address as the caller wrote it.
        masters: a master's use, such as "shard cache-0 of pool cache" -> its address.

    Raises:
        InstanceRejected: in-use.
    """
    for use, master in masters.items():
        if master in (given, report.address):
            raise _in_use(given, use)
    connections = {
        use: BoundedConnection(master, allowed, auth, timeout) for use, master in masters.items()
    }
    answers = ask_all(connections, _run_id, within=timeout)
    for use, connection in connections.items():
        connection.close()
        if answers[use] == report.run_id:
            raise _in_use(given, f"{use} (there known as {connection.address})")


def check_empty(given: str, report: InstanceReport) -> None:
    """Check that an instance holds no keys; to be called after the other checks.

    The error advises to flush the instance, which must never be one that serves a shard.

    Raises:
        InstanceRejected: not-empty.
    """
    if report.keys:
        raise InstanceRejected(
            given,
            "not-empty",
            f"{given} holds {counted(report.keys, 'key')}",
            "FLUSHALL it if nobody needs them, choose an empty instance, or allow a non-empty one",
        )


def _require_listener(address: str, target: str, allowed: AllowedNetworks, timeout: float) -> None:
    """Connect once: a closed port is another reason than a bad reply."""
    try:
        allowed.connect(target, timeout=timeout).close()
    except TimeoutError as error:
        raise _too_slow(address, timeout) from error
    except OSError as error:
        raise InstanceRejected(
            address,
            "unreachable",
            f"{address} cannot be reached: {error.strerror or error}",
            "check that redis-server runs there, and the firewall between",
        ) from error


def _examine(connection: BoundedConnection) -> tuple[RoleReply, dict[str, str], int]:
    """Return role and INFO, and how many keys are a fence's marker."""
    role = parse_role(connection.call("ROLE"))
    # Before the keys are counted: it may just be lifted, and would then count as an app's key.
    marked = marker_of(connection) is not None
    info = parse_info(connection.call("INFO"))
    return role, info, int(marked)


def _run_id(connection: BoundedConnection) -> str:
    return parse_info(connection.call("INFO", "server")).get("run_id", "")


def _require_master(address: str, role: RoleReply, info: Mapping[str, str]) -> None:
    if role.role == "sentinel" or info.get("redis_mode") == "sentinel":
        raise InstanceRejected(
            address,
            "not-master",
            f"{address} is a Sentinel, not a Redis instance",
            "give the address of a Redis master",
        )
    if role.role != "master":
        raise InstanceRejected(
            address,
            "not-master",
            f"{address} is a replica of {role.master}",
            f"give its master {role.master}, or send it REPLICAOF NO ONE first",
        )
    if info.get("redis_mode") == "cluster":
        raise InstanceRejected(
            address,
            "in-use",
            f"{address} is a node of a Redis Cluster",
            "choose an instance with cluster-enabled no",
        )


def _failed(address: str, error: redis.RedisError, timeout: float) -> InstanceRejected:
    """Return the rejection for an error of an instance whose port is open."""
    said = reason_of(error)
    if isinstance(error, (redis.AuthenticationError, redis.exceptions.NoPermissionError)):
        return InstanceRejected(
            address,
            "auth",
            f"{address} does not let the metaserver in: {said}",
            "give the metaserver this instance's user name and password "
            "(--redis-username, --redis-password-file), or change the instance's",
        )
    if isinstance(error.__cause__, TlsError):
        return InstanceRejected(
            address,
            "tls",
            f"{address}: {said}",
            "check its certificate and tls-port, and the metaserver's --redis-ssl and --ssl-...",
        )
    if isinstance(error, redis.TimeoutError):
        return _too_slow(address, timeout)
    if isinstance(error, redis.BusyLoadingError):
        return InstanceRejected(
            address, "unreachable", f"{address} is loading its data", "try again when it has"
        )
    if said.startswith("DENIED"):
        return InstanceRejected(
            address,
            "auth",
            f"{address} runs in protected mode and refuses other hosts",
            "give it a password (requirepass), or set protected-mode no",
        )
    if "max number of clients" in said:
        return InstanceRejected(
            address, "unreachable", f"{address}: {said}", "raise its maxclients"
        )
    return _not_redis(address, said)


def _not_redis(address: str, said: str) -> InstanceRejected:
    return InstanceRejected(
        address,
        "not-redis",
        f"What listens at {address} does not speak Redis's protocol: {said}",
        "check the address and the port, and whether TLS is spoken there (--redis-ssl)",
    )


def _too_slow(address: str, timeout: float) -> InstanceRejected:
    return InstanceRejected(
        address,
        "timeout",
        f"{address} did not answer within {timeout:.3g} s",
        "check that redis-server there is not blocked, and speaks TLS if --redis-ssl is given, "
        "and the network between",
    )


def _in_use(address: str, use: str) -> InstanceRejected:
    return InstanceRejected(
        address, "in-use", f"{address} already serves {use}", "choose another instance"
    )
