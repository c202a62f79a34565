"""Parsing replies of Redis and Sentinel: INFO, ROLE, and Sentinel's flat lists.

The server may be hostile: a reply of another form raises NotRedisError, and nothing else; numbers
have at most 64 bits, words and values a length, lists of replicas a number.

Sources: https://redis.io/docs/latest/commands/info/, .../role/ and
https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice

import redis

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.names import Address, parse_address
from cachemesh.core.reads import replication_status
from cachemesh.core.reads.replication_status import RoleReply, info_fields
from metaserver.domain.info_fields import MAX_REPLICAS, integer, is_replica_field

_FIELDS = 1024  # of INFO, which has about 200, and one more for each replica and database
_WORD = 256  # characters; an address has the longest, with up to 253 for the name


class NotRedisError(redis.exceptions.InvalidResponse):
    """A reply that no Redis or Sentinel gives."""


def text(value: object) -> str:
    """Return a reply of bytes as printable text.

    Raises:
        NotRedisError: the reply is something else.
    """
    if isinstance(value, bytes):
        return printable(value)
    raise NotRedisError(f"expected text, got {type(value).__name__}")


def word(value: object) -> str:
    """Return a reply as a text of up to 256 characters.

    Raises:
        NotRedisError: the reply is something else.
    """
    found = text(value)
    if len(found) > _WORD:
        raise NotRedisError(f"expected a word, got {len(found):,} characters")
    return found


def printable(value: bytes | str) -> str:
    """Return a text with U+FFFD for every unprintable character, such as an escape sequence."""
    found = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if found.isprintable():
        return found
    return "".join(each if each.isprintable() else "\ufffd" for each in found)


def parse_info(reply: object) -> dict[str, str]:
    """Return the fields of a reply to INFO, or to INFO server.

    Fields beyond the first 1024 are left out: of more than about 800 databases, the last ones.

    Raises:
        NotRedisError: the reply is no text, or has no redis_version.
    """
    fields = parse_fields(reply, _FIELDS)
    if "redis_version" not in fields:
        raise NotRedisError("the reply to INFO names no redis_version")
    return fields


def parse_fields(reply: object, most: int | None = None) -> dict[str, str]:
    """Return the first `most` fields (None: all) of any section of INFO.

    Replicas beyond MAX_REPLICAS and overlong lines are left out.

    Raises:
        NotRedisError: the reply is no text.
    """
    if not isinstance(reply, bytes):
        raise NotRedisError(f"expected text, got {_shown(reply)}")
    fields: dict[str, str] = {}
    replicas = 0
    for name, value in islice(info_fields(reply), most):
        if len(name) + len(value) > 2 * _WORD:
            continue
        if is_replica_field(name):
            replicas += 1
            if replicas > MAX_REPLICAS:
                continue
        fields[printable(name)] = printable(value)
    return fields


def parse_role(reply: object) -> RoleReply:
    """Return a reply to ROLE as a value, its texts printable.

    Raises:
        NotRedisError: the reply has another form.
    """
    try:
        role = replication_status.parse_role(reply)
    except ValueError as error:
        raise NotRedisError(printable(str(error))) from error
    return replace(role, link_state=printable(role.link_state))


def parse_pairs(reply: object) -> dict[str, str]:
    """Return Sentinel's [name, value, name, value, ...] as a dict; raises NotRedisError."""
    if not isinstance(reply, list) or len(reply) % 2:
        raise NotRedisError("the reply is not a list of names and values")
    values = [text(item)[:_WORD] for item in reply[1::2]]
    return dict(zip(map(word, reply[::2]), values, strict=True))


def parse_rows(reply: object) -> list[dict[str, str]]:
    """Return Sentinel's list of such lists as dicts; raises NotRedisError."""
    if not isinstance(reply, list):
        raise NotRedisError("what answers is not a Sentinel")
    return [parse_pairs(row) for row in reply]


def parse_master(reply: object) -> str | None:
    """Return the address in a reply to SENTINEL GET-MASTER-ADDR-BY-NAME.

    None if the Sentinel does not know the name.

    Raises:
        NotRedisError: the reply has another form.
    """
    if reply is None:
        return None
    if not isinstance(reply, list) or len(reply) != 2:
        raise NotRedisError("what answers is not a Sentinel")
    return address_of(*reply)


def address_of(host: object, port: object) -> str:
    """Return the host and port of a reply as "host:port"; raises NotRedisError."""
    try:
        return str(parse_address(str(Address(_as_word(host), whole(port)))))
    except InvalidDocumentError as error:
        raise NotRedisError(str(error)) from error


def row_address(row: Mapping[str, str]) -> str:
    """Return the address in a row of SENTINEL MASTERS or REPLICAS; raises NotRedisError."""
    return address_of(row.get("ip"), row.get("port"))


def row_flags(row: Mapping[str, str]) -> frozenset[str]:
    """Return the flags in a row of SENTINEL MASTERS or REPLICAS, such as "s_down"."""
    return frozenset(row.get("flags", "").split(","))


def whole(value: object) -> int:
    """Return a reply or field as an integer of at most 64 bits; raises NotRedisError."""
    found = value if isinstance(value, int) else integer(_as_word(value))
    if found is None:
        raise NotRedisError(f"expected a number, got {_shown(value)}")
    return found


def _as_word(value: object) -> str:
    """Return a text that is decoded already, or decode one."""
    return value if isinstance(value, str) and len(value) <= _WORD else word(value)


def _shown(value: object) -> str:
    return f"{value!r:.40}" if isinstance(value, (bytes, str, int)) else type(value).__name__
