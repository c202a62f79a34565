"""What a command touches: its keys, whether it writes, how it splits.

The facts come from Redis itself (`command_table`, generated); this module only reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from cachemesh.core.blocking import BLOCKING
from cachemesh.core.command_table import TABLE
from cachemesh.core.errors import UnsupportedCommandError
from cachemesh.core.rows import Begin, Find, Row


@dataclass(frozen=True)
class Command:
    """One command, or one subcommand of a container command.

    Attributes:
        name: in capitals, subcommand included ("OBJECT ENCODING").
        read_only: surely changes nothing, so it may be sent twice.
        specs: where its keys are, counted from the name's first word.
        request_policy, response_policy: Redis's own tips on how to spread it over shards.
        all_keys_known: the specifications tell every key.
    """

    name: str
    read_only: bool
    specs: tuple[tuple[Begin, Find], ...]
    request_policy: str
    response_policy: str
    all_keys_known: bool = True


def _command(name: str, row: Row) -> Command:
    flags, specs, request_policy, response_policy = row[:4]
    return Command(name, "r" in flags, specs, request_policy, response_policy, "?" not in flags)


COMMANDS: dict[str, Command] = {name: _command(name, row) for name, row in TABLE.items()}

_ONE_KEY_FIRST = ((1, ("range", 0, 1, 0)),)
FIRST_KEY: dict[str, bool] = {
    name: command.read_only
    for name, command in COMMANDS.items()
    if command.specs == _ONE_KEY_FIRST
    and command.all_keys_known
    and " " not in name
    and name not in BLOCKING
}
"""Commands whose only key is the first argument -> read only? The fast way for most calls."""

_CONTAINERS = frozenset(name.split(" ")[0] for name in COMMANDS if " " in name)


@lru_cache(maxsize=4096)
def _words(head: str | bytes) -> tuple[str, ...]:
    text = head.decode("ascii", "replace") if isinstance(head, bytes) else head
    return tuple(text.upper().split())


def normalize(args: Sequence[object]) -> tuple[Command, tuple[object, ...]]:
    """The command of a call and its arguments with one word each.

    redis-py calls container commands both as ``"CONFIG GET", x`` and ``"CONFIG", "GET", x``.

    Raises:
        UnsupportedCommandError: no name, or a name the table does not have.
    """
    if not args or not isinstance(args[0], (str, bytes)):
        raise UnsupportedCommandError("A command needs a name; pass it as the first argument")
    words = _words(args[0])
    rest = tuple(args[1:])
    name = " ".join(words)
    if len(words) == 1 and words[0] in _CONTAINERS and rest and isinstance(rest[0], (str, bytes)):
        with_sub = (*words, *_words(rest[0]))
        name = " ".join(with_sub[:2])
    command = COMMANDS.get(name)
    if command is None:
        shown = name if len(name) <= 40 else name[:37] + "..."
        raise UnsupportedCommandError(
            f"Unknown command {shown!r}: CacheMesh cannot tell its keys, so not which shard to ask"
        )
    return command, (*words, *rest)


def key_positions(command: Command, args: Sequence[object]) -> list[int]:
    """Positions of the keys in normalized arguments, by Redis's key specifications.

    Source: redis.io/docs/latest/develop/reference/key-specs. Arguments too few for a key give
    fewer positions; the server then reports the wrong number of arguments.
    """
    positions: list[int] = []
    for begin, find in command.specs:
        first = begin if isinstance(begin, int) else _keyword(args, *begin)
        if first is not None and first < len(args):
            positions += _found(args, first, find)
    if not command.all_keys_known:
        positions += _sort_store(args)
    return positions


def _keyword(args: Sequence[object], keyword: str, start: int) -> int | None:
    step = 1 if start > 0 else -1
    at = start if start > 0 else len(args) + start
    while 0 < at < len(args):
        if _is_word(args[at], keyword):
            return at + 1
        at += step
    return None


def _is_word(arg: object, word: str) -> bool:
    if isinstance(arg, bytes):
        return arg.upper() == word.encode()
    return isinstance(arg, str) and arg.upper() == word


def _found(args: Sequence[object], first: int, find: Find) -> range:
    kind, a, b, c = find
    if kind == "keynum":
        count, start, step = _count(args[first + a]) if first + a < len(args) else 0, first + b, c
        return range(start, min(start + count * step, len(args)), step)
    last, step, limit = a, b, c
    if last >= 0:
        end = first + last
    elif limit >= 2:
        end = first + (len(args) - first) // limit - 1
    else:
        end = len(args) + last
    return range(first, min(end, len(args) - 1) + 1, step)


def _count(arg: object) -> int:
    try:
        return max(0, int(arg))  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        return 0  # the server says what is wrong with it


def _sort_store(args: Sequence[object]) -> list[int]:
    # SORT key ... STORE destination: the one command whose second key Redis does not specify.
    for at in range(2, len(args) - 1):
        if _is_word(args[at], "STORE"):
            return [at + 1]
    return []
