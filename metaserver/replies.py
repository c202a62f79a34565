"""Reading what Redis and Sentinel answer: INFO, ROLE, and Sentinel's flat lists.

Sources: https://redis.io/docs/latest/commands/info/, .../role/ and
https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import redis

from cachemesh.core.names import Address


class NotRedisError(redis.exceptions.InvalidResponse):
    """A reply that no Redis or Sentinel gives."""


@dataclass(frozen=True)
class RoleReply:
    """What ROLE says: "master", "replica" or "sentinel"; a replica names its master and link."""

    role: str
    master: str | None = None
    link: str | None = None


def text(value: object) -> str:
    """A reply of bytes as text; raises NotRedisError for anything else."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    raise NotRedisError(f"expected text, got {type(value).__name__}")


def parse_info(reply: object) -> dict[str, str]:
    """INFO as field -> text. Raises NotRedisError if it is not a reply to INFO."""
    fields: dict[str, str] = {}
    for line in text(reply).splitlines():
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            fields[name] = value
    if "redis_version" not in fields:
        raise NotRedisError("the reply to INFO names no redis_version")
    return fields


def parse_role(reply: object) -> RoleReply:
    """ROLE as a value. Raises NotRedisError if it is not a reply to ROLE."""
    if not isinstance(reply, list) or not reply:
        raise NotRedisError("the reply to ROLE is not a list")
    role = text(reply[0])
    if role in ("slave", "replica") and len(reply) >= 4:
        master = str(Address(text(reply[1]), whole(reply[2])))
        return RoleReply("replica", master, text(reply[3]))
    if role not in ("master", "sentinel"):
        raise NotRedisError(f"ROLE says {role!r}")
    return RoleReply(role)


def parse_pairs(reply: object) -> dict[str, str]:
    """Sentinel's [name, value, name, value, ...] as a dict."""
    if not isinstance(reply, list) or len(reply) % 2:
        raise NotRedisError("the reply is not a list of names and values")
    texts = [text(item) for item in reply]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def row_address(row: Mapping[str, str]) -> str:
    """The address in a row of SENTINEL MASTERS or REPLICAS."""
    if not row.get("ip"):
        raise NotRedisError("a Sentinel's reply names no ip")
    return str(Address(row["ip"], whole(row.get("port"))))


def whole(value: object) -> int:
    """An integer reply or field; raises NotRedisError for anything else."""
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError) as error:
        raise NotRedisError(f"expected a number, got {value!r}") from error


def number(fields: Mapping[str, str], name: str, missing: int = 0) -> int:
    """A whole number of INFO, `missing` where the field is absent or holds something else."""
    value = fields.get(name, "")
    return int(value) if value.isascii() and value.removeprefix("-").isdigit() else missing


def keys_in(info: Mapping[str, str]) -> int:
    """The keys of all databases together, from INFO keyspace (`db0:keys=3,expires=1,...`)."""
    total = 0
    for name, value in info.items():
        if name.startswith("db") and name[2:].isdigit():
            total += number(_commas(value), "keys")
    return total


def replicas_in(info: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """A master's replicas by address, from INFO replication (`slave0:ip=...,port=...`)."""
    replicas: dict[str, dict[str, str]] = {}
    for name, value in info.items():
        if name.startswith("slave") and name[5:].isdigit():
            fields = _commas(value)
            if fields.get("ip"):
                replicas[str(Address(fields["ip"], number(fields, "port")))] = fields
    return replicas


def _commas(value: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in value.split(",") if "=" in part)
