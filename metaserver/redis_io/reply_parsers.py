"""Reading what Redis and Sentinel answer: INFO, ROLE, and Sentinel's flat lists.

Whoever answers may be hostile: what is not of the expected form is a NotRedisError, and nothing
else; numbers have at most 64 bits, words and values a length, lists of replicas a number.

Sources: https://redis.io/docs/latest/commands/info/, .../role/ and
https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import redis

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.names import Address, parse_address

MAX_REPLICAS = 100
"""Replicas of one shard that are looked at; Redis slows down with far fewer."""

_LINES = 1024  # of INFO, which has about 200, and one more for each replica and database
_WORD = 256  # characters; an address has the longest, with up to 253 for the name
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_DATABASE = re.compile(r"db[0-9]{1,9}")
_REPLICA = re.compile(r"slave[0-9]+")


class NotRedisError(redis.exceptions.InvalidResponse):
    """A reply that no Redis or Sentinel gives."""


@dataclass(frozen=True)
class RoleReply:
    """What ROLE says: "master", "replica" or "sentinel"; a replica names its master and link."""

    role: str
    master: str | None = None
    link: str | None = None


def text(value: object) -> str:
    """A reply of bytes as text that can be shown; raises NotRedisError for anything else."""
    if isinstance(value, bytes):
        return printable(value)
    raise NotRedisError(f"expected text, got {type(value).__name__}")


def word(value: object) -> str:
    """A short text; raises NotRedisError for anything else."""
    found = text(value)
    if len(found) > _WORD:
        raise NotRedisError(f"expected a word, got {len(found):,} characters")
    return found


def printable(value: bytes) -> str:
    """Bytes as text, in which what would not show, such as an escape sequence, is a U+FFFD."""
    found = value.decode("utf-8", "replace")
    if found.isprintable():
        return found
    return "".join(each if each.isprintable() else "\ufffd" for each in found)


def parse_info(reply: object) -> dict[str, str]:
    """A reply to INFO, or to INFO server; raises NotRedisError if it is none.

    Lines beyond the first 1024 are left out: of more than about 800 databases, the last ones.
    """
    fields = parse_fields(reply, _LINES)
    if "redis_version" not in fields:
        raise NotRedisError("the reply to INFO names no redis_version")
    return fields


def parse_fields(reply: object, lines: int | None = None) -> dict[str, str]:
    """The fields in the first `lines` lines (None: all) of any section of INFO, as field -> text.

    Those of replicas beyond MAX_REPLICAS and overlong ones are left out. Raises NotRedisError for
    what is no text.
    """
    if not isinstance(reply, bytes):
        raise NotRedisError(f"expected text, got {_shown(reply)}")
    fields: dict[str, str] = {}
    replicas = 0
    for line in reply.splitlines()[:lines]:
        if len(line) > 2 * _WORD or b":" not in line or line.startswith(b"#"):
            continue
        name, _, value = printable(line).partition(":")
        if _REPLICA.fullmatch(name):
            replicas += 1
            if replicas > MAX_REPLICAS:
                continue
        fields[name] = value
    return fields


def parse_role(reply: object) -> RoleReply:
    """ROLE as a value. Raises NotRedisError if it is not a reply to ROLE."""
    if not isinstance(reply, list) or not reply:
        raise NotRedisError("the reply to ROLE is not a list")
    role = word(reply[0])
    if role in ("slave", "replica") and len(reply) >= 4:
        return RoleReply("replica", address_of(reply[1], reply[2]), word(reply[3]))
    if role not in ("master", "sentinel"):
        raise NotRedisError(f"ROLE says {role!r:.80}")
    return RoleReply(role)


def parse_pairs(reply: object) -> dict[str, str]:
    """Sentinel's [name, value, name, value, ...] as a dict."""
    if not isinstance(reply, list) or len(reply) % 2:
        raise NotRedisError("the reply is not a list of names and values")
    values = [text(item)[:_WORD] for item in reply[1::2]]
    return dict(zip(map(word, reply[::2]), values, strict=True))


def parse_rows(reply: object) -> list[dict[str, str]]:
    """A Sentinel's list of such lists; raises NotRedisError for anything else."""
    if not isinstance(reply, list):
        raise NotRedisError("what answers is not a Sentinel")
    return [parse_pairs(row) for row in reply]


def parse_master(reply: object) -> str | None:
    """The address in a reply to SENTINEL GET-MASTER-ADDR-BY-NAME; None if it knows no such name."""
    if reply is None:
        return None
    if not isinstance(reply, list) or len(reply) != 2:
        raise NotRedisError("what answers is not a Sentinel")
    return address_of(*reply)


def address_of(host: object, port: object) -> str:
    """Host and port of a reply as "host:port"; raises NotRedisError for what is no address."""
    try:
        return str(parse_address(str(Address(_as_word(host), whole(port)))))
    except InvalidDocumentError as error:
        raise NotRedisError(str(error)) from error


def row_address(row: Mapping[str, str]) -> str:
    """The address in a row of SENTINEL MASTERS or REPLICAS."""
    return address_of(row.get("ip"), row.get("port"))


def rows_with_address(rows: Iterable[Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    """SENTINEL REPLICAS by address: the first MAX_REPLICAS that can be connected to.

    What only takes a copy of the master, as `redis-cli --replica` does, has no port.
    """
    found: dict[str, Mapping[str, str]] = {}
    for row in rows:
        try:
            found.setdefault(row_address(row), row)
        except NotRedisError:
            continue
        if len(found) == MAX_REPLICAS:
            break
    return found


def whole(value: object) -> int:
    """An integer reply or field of 64 bits; raises NotRedisError for anything else."""
    found = value if isinstance(value, int) else integer(_as_word(value))
    if found is None:
        raise NotRedisError(f"expected a number, got {_shown(value)}")
    return found


def integer(digits: str) -> int | None:
    """A number of at most 64 bits; None for anything else."""
    found = int(digits) if _INTEGER.fullmatch(digits) else None
    return found if found is not None and -(2**63) <= found < 2**63 else None


def number(fields: Mapping[str, str], name: str, missing: int = 0) -> int:
    """A whole number of INFO, `missing` where the field is absent or holds something else."""
    found = integer(fields.get(name, ""))
    return missing if found is None else found


def databases_in(info: Mapping[str, str]) -> dict[int, str]:
    """The databases that hold keys, from INFO keyspace (`db0:keys=3,expires=1,...`)."""
    return {int(name[2:]): value for name, value in info.items() if _DATABASE.fullmatch(name)}


def keys_in(info: Mapping[str, str]) -> int:
    """The keys of all databases together."""
    return sum(number(_commas(value), "keys") for value in databases_in(info).values())


def replicas_in(info: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """A master's replicas by address, from INFO replication (`slave0:ip=...,port=...`)."""
    rows = (_commas(value) for name, value in info.items() if _REPLICA.fullmatch(name))
    return {address: dict(row) for address, row in rows_with_address(rows).items()}


def _commas(value: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in value.split(",") if "=" in part)


def _as_word(value: object) -> str:
    """A text that is read already, or one that is not."""
    return value if isinstance(value, str) and len(value) <= _WORD else word(value)


def _shown(value: object) -> str:
    return f"{value!r:.40}" if isinstance(value, (bytes, str, int)) else type(value).__name__
