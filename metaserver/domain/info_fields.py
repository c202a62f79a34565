"""Reading the fields of INFO, which a hostile instance may have filled with anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.names import Address, parse_address

MAX_REPLICAS = 100
"""Replicas of one shard that are looked at; Redis slows down with far fewer."""

_INTEGER = re.compile(r"-?[0-9]{1,19}")
_DATABASE = re.compile(r"db[0-9]{1,9}")
_REPLICA = re.compile(r"slave[0-9]+")


def integer(digits: str) -> int | None:
    """Return the whole number of at most 64 bits that the text is, else None."""
    found = int(digits) if _INTEGER.fullmatch(digits) else None
    return found if found is not None and -(2**63) <= found < 2**63 else None


def number(fields: Mapping[str, str], name: str, missing: int = 0) -> int:
    """Return a field as a whole number, or `missing` where it is absent or holds no number."""
    found = integer(fields.get(name, ""))
    return missing if found is None else found


def databases_in(info: Mapping[str, str]) -> dict[int, str]:
    """Return the databases that hold keys, from INFO keyspace (`db0:keys=3,expires=1,...`)."""
    return {int(name[2:]): value for name, value in info.items() if _DATABASE.fullmatch(name)}


def keys_by_database(info: Mapping[str, str]) -> dict[int, int]:
    """Return how many keys each database has, of those that have any, by number."""
    found = databases_in(info)
    return {db: number(_pairs(found[db]), "keys") for db in sorted(found)}


def keys_in(info: Mapping[str, str]) -> int:
    """Return the number of keys in all databases together."""
    return sum(keys_by_database(info).values())


def is_replica_field(name: str) -> bool:
    """Return whether a field of INFO replication describes a replica (`slave0`)."""
    return _REPLICA.fullmatch(name) is not None


def replicas_in(info: Mapping[str, str]) -> dict[str, Mapping[str, str]]:
    """Return a master's replicas by address, from INFO replication (`slave0:ip=...,port=...`)."""
    return by_address(_pairs(value) for name, value in info.items() if is_replica_field(name))


def by_address(rows: Iterable[Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    """Return rows that describe replicas by the address in their `ip` and `port`.

    These are the first MAX_REPLICAS that can be connected to. What only copies the master, as
    `redis-cli --replica` does, has no port.
    """
    found: dict[str, Mapping[str, str]] = {}
    for row in rows:
        port = integer(row.get("port", ""))
        try:
            address = parse_address(str(Address(row.get("ip", ""), -1 if port is None else port)))
        except InvalidDocumentError:
            continue
        found.setdefault(str(address), row)
        if len(found) == MAX_REPLICAS:
            break
    return found


def _pairs(value: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in value.split(",") if "=" in part)
