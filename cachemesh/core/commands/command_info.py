"""From a server's description of its commands to rows of the command table.

A row: (flags, key specifications, request policy, response policy, group, first version)
    flags: w writes, r reads, b may block, p publishes or subscribes, n may have no key,
           ? the specifications do not give all keys
    key specification: (where the keys begin, which arguments follow); positions count from the name
        begin: an index, or (keyword, position where its search starts, negative from the end)
        find:  ("range", last, step, limit) or ("keynum", index of the count, first, step)

Source: redis.io/docs/latest/commands/command and redis.io/docs/latest/develop/reference/key-specs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

BeginSearch: TypeAlias = "int | tuple[str, int]"
FindKeys: TypeAlias = "tuple[str, int, int, int]"
KeySpecs: TypeAlias = "tuple[tuple[BeginSearch, FindKeys], ...]"
CommandFacts: TypeAlias = "tuple[str, KeySpecs, str, str]"
TableRow: TypeAlias = "tuple[str, KeySpecs, str, str, str, str]"

_LETTERS = {
    "write": "w",
    "readonly": "r",
    "blocking": "b",
    "pubsub": "p",
    "no_mandatory_keys": "n",
}
_FIELDS = {
    "range": ("lastkey", "keystep", "limit"),
    "keynum": ("keynumidx", "firstkey", "keystep"),
}


def command_rows(reply: Any) -> dict[str, CommandFacts]:
    """Return the rows of one command and its subcommands.

    Args:
        reply: the command's part of the reply to COMMAND, with bytes or str. Maps may be those of
            RESP3 or RESP2's flat lists. Redis before 7.0 sends no key specifications; then the
            positions of the first and last key are used.

    Returns:
        Command name in capitals -> row.

    Raises:
        IndexError, KeyError, TypeError, ValueError: the reply has another form.
    """
    name, _, raw_flags, first, last, step = reply[:6]
    flags = {as_text(flag) for flag in raw_flags}
    tips = [as_text(tip) for tip in reply[7]] if len(reply) > 7 else []
    if len(reply) > 8:
        specs = [_key_spec(as_map(spec)) for spec in reply[8]]
    elif "movablekeys" in flags:
        specs = [None]
    else:
        specs = [(first, ("range", last - first if last > 0 else last, step, 0))] if first else []
    letters = "".join(letter for flag, letter in _LETTERS.items() if flag in flags)
    if None in specs:
        letters += "?"
    policy = dict(tip.split(":", 1) for tip in tips if "policy:" in tip)
    subcommands = reply[9] if len(reply) > 9 else []
    rows: dict[str, CommandFacts] = {}
    if not subcommands:
        rows[as_text(name).replace("|", " ").upper()] = (
            letters,
            tuple(spec for spec in specs if spec is not None),
            policy.get("request_policy", ""),
            policy.get("response_policy", ""),
        )
    for subcommand in subcommands:
        rows.update(command_rows(subcommand))
    return rows


def as_map(reply: Any) -> dict[str, Any]:
    """Return a RESP3 map, or RESP2's flat list of names and values, as a dict.

    Args:
        reply: as received.

    Raises:
        ValueError: the list has an odd number of items.
    """
    if isinstance(reply, Mapping):
        return {as_text(name): value for name, value in reply.items()}
    return {as_text(n): v for n, v in zip(reply[::2], reply[1::2], strict=True)}


def as_text(word: Any) -> str:
    """Return a word of a reply as str.

    Args:
        word: bytes, or anything with a ``str()``.
    """
    return word.decode("ascii", "replace") if isinstance(word, bytes) else str(word)


def _key_spec(spec: Mapping[str, Any]) -> tuple[BeginSearch, FindKeys] | None:
    begin, find = as_map(spec["begin_search"]), as_map(spec["find_keys"])
    if "unknown" in (as_text(begin["type"]), as_text(find["type"])):
        return None
    where, kind, what = as_map(begin["spec"]), as_text(find["type"]), as_map(find["spec"])
    start: BeginSearch
    if as_text(begin["type"]) == "index":
        start = int(where["index"])
    else:
        start = (as_text(where["keyword"]).upper(), int(where["startfrom"]))
    a, b, c = (int(what[name]) for name in _FIELDS[kind])
    return start, (kind, a, b, c)
