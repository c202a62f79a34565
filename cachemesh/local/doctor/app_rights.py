"""What the user of the pool's URL may not do, though clients do it: an app logs in as that user.

Within MULTI a denied command is refused when it is queued, and nothing runs without EXEC.
Source: https://redis.io/docs/latest/develop/using-commands/transactions/.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis

from cachemesh.core.fencing import MARKER
from cachemesh.core.names import Address, parse_address
from cachemesh.core.plurals import counted
from cachemesh.discovery.sentinel_connection import SentinelOptions
from cachemesh.discovery.survey import TIMEOUT, WITHIN, ask, ask_each
from cachemesh.local.doctor.check import Check, fail, ok, warn

_NAME = "rights"
_KEY = "cachemesh:doctor"  # nobody's key: an app may be allowed some keys alone
_OF_COMMAND = re.compile(r"permissions? to run the", re.IGNORECASE)


@dataclass(frozen=True)
class AppRight:
    """A right of an app, and what fails without it.

    Attributes:
        right: as ACL SETUSER spells it.
        command: one that needs it.
        fails: what fails without it.
        vital: whether an app cannot do without.
        key: whether the key of the command is one that the app needs.
    """

    right: str
    command: tuple[str, ...]
    fails: str
    vital: bool = False
    key: bool = False


_FENCED = "a client that lags cannot be fenced off in a resize, which then waits"
_MOVED = "keys that a resize moves are not pulled: commands on them fail until a metaserver has"
_LAG = "replicas are not read within max_lag"
AT_INSTANCES: tuple[AppRight, ...] = (
    AppRight("+get", ("GET", _KEY), "it can read nothing", vital=True),
    AppRight("+set", ("SET", _KEY, ""), "it can write nothing", vital=True),
    AppRight("+role", ("ROLE",), "it may write to a former master for a moment"),
    AppRight("+info", ("INFO", "replication"), _LAG),
    AppRight("+client|setname", ("CLIENT", "SETNAME", "cachemesh"), _FENCED),
    AppRight(f"~{MARKER}", ("GET", MARKER), _FENCED, key=True),
    AppRight("+migrate", ("MIGRATE", "host", "port", _KEY, "0", "1"), _MOVED),
    AppRight("+restore", ("RESTORE", _KEY, "0", ""), _MOVED),
    AppRight("+exists", ("EXISTS", _KEY), _MOVED),
    AppRight("+publish", ("PUBLISH", "cachemesh:pull", ""), _MOVED),
    AppRight("+wait", ("WAIT", "0", "1"), _MOVED),
)
AT_SENTINELS: tuple[AppRight, ...] = (
    AppRight(
        "+sentinel|get-master-addr-by-name",
        ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", ".none"),
        "it finds no master",
        vital=True,
    ),
    AppRight("+sentinel|replicas", ("SENTINEL", "REPLICAS", ".none"), "it finds no replica"),
    AppRight(
        "+sentinel|sentinels",
        ("SENTINEL", "SENTINELS", ".none"),
        "it asks no Sentinel beyond those it is told of",
    ),
    AppRight(
        "+subscribe",
        ("SUBSCRIBE", "+switch-master"),
        "it hears of a failover by polling, up to poll_interval later",
    ),
)


def check_rights(
    instances: Sequence[Address],
    options: SentinelOptions,
    sentinels: Sequence[str],
    sentinel_options: SentinelOptions,
) -> Iterator[Check]:
    """Yield checks of what the users of an app may do; those that do not answer are left out.

    Args:
        instances, options: of the pool's instances that answer.
        sentinels, sentinel_options: the same of Sentinels.
    """
    queued = [("MULTI",), *(each.command for each in AT_INSTANCES), ("DISCARD",)]
    at_once = [each.command for each in AT_SENTINELS]
    jobs = {str(at): partial(ask, at, options, queued, TIMEOUT) for at in instances}
    jobs |= {
        at: partial(ask, parse_address(at), sentinel_options, at_once, TIMEOUT) for at in sentinels
    }
    answers = {at: a for at, a in ask_each(jobs, WITHIN).items() if not isinstance(a, Exception)}
    found = list(_found(answers, set(sentinels), options, sentinel_options))
    yield from found
    if answers and not found:
        user, servers = options.username or "default", counted(len(answers), "server")
        yield ok(_NAME, f"user {user!r} may do what clients do, at {servers}")


def _found(
    answers: Mapping[str, Sequence[Any]],
    sentinels: set[str],
    options: SentinelOptions,
    sentinel_options: SentinelOptions,
) -> Iterator[Check]:
    lacking: dict[tuple[bool, tuple[AppRight, ...]], list[str]] = {}
    for at, replies in answers.items():
        there = at in sentinels
        lacks = refused(AT_SENTINELS, replies) if there else refused(AT_INSTANCES, replies[1:])
        if lacks:
            lacking.setdefault((there, lacks), []).append(at)
    for (there, lacks), addresses in lacking.items():
        user = (sentinel_options if there else options).username or "default"
        rights = " ".join(each.right for each in lacks)
        fails = "; ".join(dict.fromkeys(each.fails for each in lacks))
        host, port = parse_address(addresses[0])
        words = shlex.join(["ACL", "SETUSER", user, *(each.right for each in lacks)])
        keep = "SENTINEL FLUSHCONFIG" if there else "CONFIG REWRITE"
        step = f"redis-cli -h {host} -p {port} {words}; and the same in its aclfile, or without "
        step += f"one {keep}; so at each of them"
        said = f"user {user!r} lacks {rights} at {', '.join(addresses)}: {fails}"
        yield (fail if any(each.vital for each in lacks) else warn)(_NAME, said, step)


def refused(rights: Sequence[AppRight], replies: Sequence[Any]) -> tuple[AppRight, ...]:
    """Return the rights whose commands were refused for want of them.

    Args:
        replies: to their commands, in their order, and maybe more.
    """
    return tuple(
        each
        for each, reply in zip(rights, replies, strict=False)
        if isinstance(reply, redis.ResponseError)
        and str(reply).startswith("NOPERM")
        and (each.key or _OF_COMMAND.search(str(reply)))
    )
