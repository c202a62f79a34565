"""Reading values of CONFIG GET."""

from __future__ import annotations

from dataclasses import dataclass

from metaserver.domain.diagnosis.facts import InstanceFacts
from metaserver.domain.info_fields import integer

MEBIBYTE = 1024 * 1024
SECRETS = frozenset(("masterauth",))
"""Parameters of which only is asked whether they are set."""

PARAMETERS: tuple[str, ...] = (
    *("maxmemory-policy", "client-output-buffer-limit", "min-replicas-to-write"),
    *("replica-serve-stale-data", "replica-read-only", "repl-backlog-size", "replica-announce-ip"),
    *("timeout", "tcp-keepalive", "maxclients", "appendonly", "appendfsync", "save"),
    *("stop-writes-on-bgsave-error", "notify-keyspace-events", "protected-mode", "bind"),
    *("port", "tls-port", "tls-cluster", "tls-replication", "masterauth", "aclfile"),
)
"""Every parameter that a rule looks at."""


@dataclass(frozen=True)
class BufferLimit:
    """A client-output-buffer-limit, in bytes; 0 for no limit."""

    hard: int
    soft: int
    seconds: int


def whole(instance: InstanceFacts, name: str) -> int | None:
    """Return a parameter as a whole number, None if it is not known."""
    return integer(instance.settings.get(name, ""))


def says_no(instance: InstanceFacts, name: str) -> bool:
    """Return whether a parameter is known to be "no"."""
    return instance.settings.get(name) == "no"


def says_yes(instance: InstanceFacts, name: str) -> bool:
    """Return whether a parameter is known to be "yes"."""
    return instance.settings.get(name) == "yes"


def buffer_limit(instance: InstanceFacts, kind: str) -> BufferLimit | None:
    """Return a client-output-buffer-limit, None if it is not known.

    Args:
        kind: "normal", "pubsub" or "replica", which Redis may still call "slave".
    """
    words = instance.settings.get("client-output-buffer-limit", "").split()
    kinds = ("slave", "replica") if kind == "replica" else (kind,)
    for name, *values in zip(*(words[n::4] for n in range(4)), strict=False):
        numbers = [integer(value) for value in values]
        if name in kinds and None not in numbers:
            hard, soft, seconds = (each or 0 for each in numbers)
            return BufferLimit(hard, soft, seconds)
    return None


def listens_beyond_loopback(instance: InstanceFacts) -> bool | None:
    """Return whether other machines may connect to an instance; None if that is not known."""
    if "bind" not in instance.settings:
        return None
    hosts = [word.lstrip("-") for word in instance.settings["bind"].split()]
    return not hosts or not all(host.startswith("127.") or host == "::1" for host in hosts)
