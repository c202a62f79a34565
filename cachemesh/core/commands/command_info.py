"""From what a server says of its commands to rows of the command table.

A row: (flags, key specifications, request policy, response policy, group, first version)
    flags: w writes, r reads, b may block, p publishes or subscribes, n no key is certain,
           ? the specifications do not tell all keys
    key specification: (where it begins, which arguments follow), positions counted from the name
        begin: an index, or (keyword, position from which it is searched, negative from the end)
        find:  ("range", last, step, limit) or ("keynum", index of the count, first, step)

Sources: redis.io/docs/latest/commands/command and redis.io/docs/latest/develop/reference/key-specs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Begin: TypeAlias = "int | tuple[str, int]"
Find: TypeAlias = "tuple[str, int, int, int]"
Specs: TypeAlias = "tuple[tuple[Begin, Find], ...]"
Facts: TypeAlias = "tuple[str, Specs, str, str]"
Row: TypeAlias = "tuple[str, Specs, str, str, str, str]"

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


def command_rows(reply: Any) -> dict[str, Facts]:
    """The rows of one command and its subcommands, from its part of the reply of COMMAND.

    Args:
        reply: bytes or str in it; maps as RESP3 sends them or as RESP2's flat lists. Redis before
            7.0 sends no key specifications; then the positions of the first and last key count.

    Raises:
        IndexError, KeyError, TypeError, ValueError: the reply has not this form.
    """
    name, _, raw_flags, first, last, step = reply[:6]
    flags = {text(flag) for flag in raw_flags}
    tips = [text(tip) for tip in reply[7]] if len(reply) > 7 else []
    if len(reply) > 8:
        specs = [_key_spec(pairs(spec)) for spec in reply[8]]
    elif "movablekeys" in flags:
        specs = [None]
    else:
        specs = [(first, ("range", last - first if last > 0 else last, step, 0))] if first else []
    letters = "".join(letter for flag, letter in _LETTERS.items() if flag in flags)
    if None in specs:
        letters += "?"
    policy = dict(tip.split(":", 1) for tip in tips if "policy:" in tip)
    subcommands = reply[9] if len(reply) > 9 else []
    rows: dict[str, Facts] = {}
    if not subcommands:
        rows[text(name).replace("|", " ").upper()] = (
            letters,
            tuple(spec for spec in specs if spec is not None),
            policy.get("request_policy", ""),
            policy.get("response_policy", ""),
        )
    for subcommand in subcommands:
        rows.update(command_rows(subcommand))
    return rows


def pairs(reply: Any) -> dict[str, Any]:
    """A RESP3 map, or RESP2's flat list of names and values, as a dict."""
    if isinstance(reply, Mapping):
        return {text(name): value for name, value in reply.items()}
    return {text(n): v for n, v in zip(reply[::2], reply[1::2], strict=True)}


def text(word: Any) -> str:
    """A word of a reply, decoded or not."""
    return word.decode("ascii", "replace") if isinstance(word, bytes) else str(word)


def _key_spec(spec: Mapping[str, Any]) -> tuple[Begin, Find] | None:
    begin, find = pairs(spec["begin_search"]), pairs(spec["find_keys"])
    if "unknown" in (text(begin["type"]), text(find["type"])):
        return None
    where, kind, what = pairs(begin["spec"]), text(find["type"]), pairs(find["spec"])
    start: Begin
    if text(begin["type"]) == "index":
        start = int(where["index"])
    else:
        start = (text(where["keyword"]).upper(), int(where["startfrom"]))
    a, b, c = (int(what[name]) for name in _FIELDS[kind])
    return start, (kind, a, b, c)
