"""What a rule has found."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cachemesh.core.names import parse_address
from metaserver.domain.diagnosis.facts import PoolFacts

Severity: TypeAlias = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""error: something that the pool is relied on for fails, now or at the next failover. warning: it
works, and costs keys, memory or minutes once something happens. note: good to know."""

FactKind: TypeAlias = Literal["instances", "settings", "sentinels"]
"""What a rule reads: of instances without CONFIG GET, by CONFIG GET, of Sentinels."""


@dataclass(frozen=True)
class Finding:
    """Something that is configured wrong.

    Attributes:
        rule: the name of the rule, as in docs/doctor.md.
        shard: the shard that it is about; None for the pool.
        at: the address of the instance or Sentinel where it is configured; None for the pool.
        configured: what is configured there: the parameter and its value.
        impact: what follows, in an operator's words.
        next_step: the command to type next, or what to do where there is none.
    """

    rule: str
    severity: Severity
    shard: str | None
    at: str | None
    configured: str
    impact: str
    next_step: str


@dataclass(frozen=True)
class DiagnosisRule:
    """A function from facts to findings, and what it may find.

    Attributes:
        names: those of its findings.
        reads: the facts without which it finds nothing.
    """

    find: Callable[[PoolFacts], Iterator[Finding]]
    names: tuple[str, ...]
    reads: frozenset[FactKind]


def redis_cli(address: str, *words: object) -> str:
    """Return the command that sends words to a server."""
    host, port = parse_address(address)
    return f"redis-cli -h {host} -p {port} {shlex.join(map(str, words))}"


def config_set(address: str, name: str, value: object) -> str:
    """Return the command that sets a parameter of an instance."""
    return redis_cli(address, "CONFIG", "SET", name, value)


def sentinel_set(address: str, shard: str, name: str, value: object) -> str:
    """Return the command that sets an option of a shard at a Sentinel."""
    return redis_cli(address, "SENTINEL", "SET", shard, name, value)
