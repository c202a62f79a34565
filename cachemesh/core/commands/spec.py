"""What a command touches: its keys, and whether it writes.

The facts come from Redis itself (`table`, generated); this module interprets them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from redis.exceptions import DataError

from cachemesh.core.commands.blocking import BLOCKING
from cachemesh.core.commands.command_info import CommandFacts, FindKeys, KeySpecs, TableRow
from cachemesh.core.commands.encoding import as_keyword, encode
from cachemesh.core.commands.table import TABLE
from cachemesh.core.errors import UnsupportedCommandError

Args = tuple[Any, ...]


@dataclass(frozen=True)
class Command:
    """One command, or one subcommand of a container command.

    Attributes:
        name: in capitals, subcommand included ("OBJECT ENCODING").
        read_only: the command changes nothing, so it may be sent twice.
        specs: where the keys are, counted from the first word of the name.
        request_policy, response_policy: Redis's own tips on spreading the command over shards.
        all_keys_known: the specifications give every key.
        original: the name that Redis gives the command; another than ``name`` where the server's
            configuration has renamed it.
    """

    name: str
    read_only: bool = False
    specs: KeySpecs = ()
    request_policy: str = ""
    response_policy: str = ""
    all_keys_known: bool = True
    original: str = ""

    def __post_init__(self) -> None:
        if not self.original:
            object.__setattr__(self, "original", self.name)


def command_of(name: str, row: CommandFacts | TableRow, original: str = "") -> Command:
    """Return the command that a row describes.

    Args:
        name: in capitals.
        row: of the table, or of a server's reply.
        original: as of `Command`; empty if that is the same.
    """
    flags, specs, request_policy, response_policy = row[:4]
    known = "?" not in flags or name in _KEYS_KNOWN_HERE
    return Command(name, "r" in flags, specs, request_policy, response_policy, known, original)


_KEYS_KNOWN_HERE = frozenset({"SORT", "SORT_RO"})

COMMANDS: dict[str, Command] = {name: command_of(name, row) for name, row in TABLE.items()}

CONTAINERS = frozenset(name.split(" ")[0] for name in COMMANDS if " " in name)
"""First words of the commands whose names have two words."""

_ONE_KEY_FIRST = ((1, ("range", 0, 1, 0)),)
FIRST_KEY: dict[str, bool] = {
    name: command.read_only
    for name, command in COMMANDS.items()
    if command.specs == _ONE_KEY_FIRST
    and name not in _KEYS_KNOWN_HERE
    and name not in CONTAINERS
    and name not in BLOCKING
}
"""Commands whose only key is the first argument -> whether read-only. Most calls take this path."""


@lru_cache(maxsize=4096)
def name_words(head: str | bytes) -> tuple[str, ...]:
    """Return the words of a command's name, in capitals.

    Args:
        head: the first argument of a call.
    """
    as_text = head.decode("ascii", "replace") if isinstance(head, bytes) else head
    return tuple(as_text.upper().split())


def split_words(args: Sequence[Any]) -> Args:
    """Return a call's arguments with the name split into single words, in capitals.

    redis-py passes container commands both as ``"CONFIG GET", x`` and as ``"CONFIG", "GET", x``.

    Args:
        args: the call.

    Raises:
        UnsupportedCommandError: the call has no name.
    """
    words = name_words(args[0]) if args and isinstance(args[0], (str, bytes)) else ()
    if not words:
        raise UnsupportedCommandError("A command needs a name; pass it as the first argument")
    return (*words, *args[1:])


def key_positions(command: Command, words: Sequence[Any]) -> list[int]:
    """Return the positions of the keys in a call, by Redis's key specifications.

    Source: redis.io/docs/latest/develop/reference/key-specs. A call with too few arguments gives
    fewer positions; the server then reports the wrong number of arguments.

    Args:
        command: the command that is called.
        words: the call in single words.
    """
    positions: list[int] = []
    for begin, find in command.specs:
        first = begin if isinstance(begin, int) else _keyword(words, *begin)
        if first is not None and first < len(words):
            positions += _found_keys(words, first, find)
    if command.name in _KEYS_KNOWN_HERE:
        positions += sort_options(words)[0]
    elif command.name == "MIGRATE" and len(positions) > 1:
        positions = [at for at in positions if words[at] not in ("", b"")]
    return positions


def sort_options(words: Sequence[Any]) -> tuple[list[int], list[int]]:
    """Return the positions of the key that a SORT stores to, and of the patterns that it looks up.

    Redis has no key specification for them.

    Args:
        words: the call in single words.
    """
    store: list[int] = []
    patterns: list[int] = []
    at = 2
    while at < len(words) - 1:
        if is_word(words[at], "STORE"):
            store = [at + 1]  # the last STORE wins
            at += 2
        elif is_word(words[at], "BY") or is_word(words[at], "GET"):
            patterns.append(at + 1)
            at += 2
        else:
            at += 3 if is_word(words[at], "LIMIT") else 1
    return store, patterns


def is_word(arg: Any, word: str) -> bool:
    """Whether an argument is a keyword, in any case.

    Args:
        arg: the argument.
        word: the keyword, in capitals.
    """
    return as_keyword(arg) == word.encode()


def _keyword(words: Sequence[Any], keyword: str, start: int) -> int | None:
    step = 1 if start > 0 else -1
    at = start if start > 0 else len(words) + start
    while 0 < at < len(words):
        if is_word(words[at], keyword):
            return at + 1
        at += step
    return None


def _found_keys(words: Sequence[Any], first: int, find: FindKeys) -> range:
    kind, a, b, c = find
    if kind == "keynum":
        at, start, step = first + a, first + b, c
        count = _key_count(words[at]) if at < len(words) else 0
        return range(start, min(start + count * step, len(words)), step)
    last, step, limit = a, b, c
    if last >= 0:
        end = first + last
    elif limit >= 2:
        end = first + (len(words) - first) // limit - 1
    else:
        end = len(words) + last
    return range(first, min(end, len(words) - 1) + 1, step)


def _key_count(arg: Any) -> int:
    try:
        return max(0, int(encode(arg)))
    except (DataError, ValueError):
        return 0  # the server reports the error
