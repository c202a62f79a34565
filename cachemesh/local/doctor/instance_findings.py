"""Asks each instance of a pool about itself: role, replication, clock."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis

from cachemesh.core.malformed_replies import reading_reply
from cachemesh.core.names import Address
from cachemesh.core.reads.replication_status import parse_role
from cachemesh.discovery.password_file import PasswordFile
from cachemesh.discovery.sentinel_connection import SentinelOptions
from cachemesh.discovery.survey import TIMEOUT, WITHIN, ask, ask_each, usable_address
from cachemesh.discovery.url import MeshUrl

_COMMANDS = (("ROLE",), ("TIME",), ("INFO", "replication"))


@dataclass(frozen=True)
class InstanceFindings:
    """What an instance says about itself.

    Attributes:
        role: "master", "replica" or "sentinel".
        master: the master that a replica follows; None for a master.
        link: the state of a replica's connection to its master, "connected" if all is well.
        offset: bytes of the replication stream that the instance has.
        replicas: the replicas that are connected to a master.
        skew: seconds by which the instance's clock differs from this machine's.
        promotable: whether Sentinel may promote a replica: its ``replica-priority`` is not 0.
    """

    role: str
    master: Address | None
    link: str
    offset: int
    replicas: tuple[Address, ...]
    skew: float
    promotable: bool = True


FindingsByAddress = Mapping[Address, "InstanceFindings | Exception"]


def ask_instances(mesh: MeshUrl, addresses: set[Address]) -> FindingsByAddress:
    """Ask all instances at once, within a bounded time.

    Args:
        mesh: has the credentials and TLS options of the pool.
        addresses: of the instances.

    Returns:
        What each instance says, or the error that came instead.
    """
    options = instance_options(mesh)
    jobs = {at: partial(_ask_instance, at, options) for at in sorted(addresses)}
    return ask_each(jobs, WITHIN)


def instance_options(mesh: MeshUrl) -> SentinelOptions:
    """Return how to connect to the instances of a pool, with the URL's login."""
    given = mesh.options
    provider = given.get("credential_provider")
    in_file = provider if isinstance(provider, PasswordFile) else None
    return SentinelOptions(
        username=given.get("username") if in_file is None else in_file.username,
        password=given.get("password"),
        password_file=in_file,
        timeout=TIMEOUT,
        connection={name: v for name, v in given.items() if name.startswith("ssl")},
    )


def _ask_instance(address: Address, options: SentinelOptions) -> InstanceFindings:
    replies = ask(address, options, _COMMANDS, TIMEOUT)
    with reading_reply():
        return _parse_findings(*replies)


def _parse_findings(role: Any, clock: Any, info: Any) -> InstanceFindings:
    """Read the replies to ROLE, TIME and INFO, of which an ACL may forbid the last.

    Source: redis.io/docs/latest/commands/role.
    """
    for reply in (role, clock):
        if isinstance(reply, redis.ResponseError):
            raise reply
    seconds, micros = clock
    skew = abs(time.time() - (int(seconds) + int(micros) / 1e6))
    status = parse_role(role)
    replicas = [usable_address(at.host, str(at.port)) for at, _ in status.replicas]
    return InstanceFindings(
        role=status.role,
        master=status.master,
        link=status.link_state,
        offset=status.offset,
        replicas=tuple(at for at in replicas if at is not None),
        skew=skew,
        promotable=status.role != "replica" or "slave_priority:0\r\n" not in str(info),
    )
