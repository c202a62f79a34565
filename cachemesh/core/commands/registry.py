"""The commands that a client knows: the generated table, and what servers have told since.

look_up --known--> Command                       (no server is asked)
        --None---> COMMAND INFO name  --learn--> Command, remembered
                                      --nil----> unknown to the server: sent unchanged, which
                                                 gives the server's own error
"""

from __future__ import annotations

from typing import Any

from cachemesh.core.commands.command_info import as_text, command_rows
from cachemesh.core.commands.spec import (
    COMMANDS,
    CONTAINERS,
    Args,
    Command,
    command_of,
    name_words,
    split_words,
)
from cachemesh.core.errors import UnsupportedCommandError

_MOST = 10_000
"""How many learned commands are remembered: names may come from an app's users."""


class CommandRegistry:
    """The commands that one client knows. Thread-safe.

    Each client has a registry of its own, because servers of different pools may have different
    modules.
    """

    def __init__(self) -> None:
        self._learned: dict[str, Command] = {}
        self._containers: set[str] = set()

    def look_up(self, args: Args) -> tuple[Command | None, Args]:
        """Look up the command of a call.

        Args:
            args: the call.

        Returns:
            The command, or None if it is not known yet; and the call split into single words.

        Raises:
            UnsupportedCommandError: the call has no name.
        """
        words = split_words(args)
        name = words[0]
        if len(words) > 1 and (name in CONTAINERS or name in self._containers):
            second = name_words(words[1]) if isinstance(words[1], (str, bytes)) else ()
            found = self._find(f"{name} {second[0]}") if len(second) == 1 else None
            if found is not None:
                return found, (name, *second, *words[2:])
        return self._find(name), words

    def knows(self, args: Args) -> bool:
        """Whether a call can be planned without asking a server.

        Args:
            args: the call.

        Raises:
            UnsupportedCommandError: the call has no name.
        """
        command = self.look_up(args)[0]
        return command is not None and command.all_keys_known

    def learn(self, words: Args, reply: Any) -> Command | None:
        """Remember the reply to `command_info_request`.

        A server describes a command that its configuration renames under the name of before.

        Args:
            words: the call, as `look_up` returned it.
            reply: a list with one item; the item is nil for an unknown command.

        Returns:
            The command, or None if the server does not know it.

        Raises:
            UnsupportedCommandError: the reply is not one of COMMAND INFO.
        """
        try:
            told = _named(words[0], reply[0]) if reply[0] else {}
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise UnsupportedCommandError(
                f"The server's description of {words[0]} is not understood: {error!r}; "
                "CacheMesh cannot tell its keys, so not which shard to ask"
            ) from error
        if len(self._learned) + len(told) > _MOST:
            self._learned.clear()
            self._containers.clear()
        for name, command in told.items():
            if name not in COMMANDS:
                self._learned[name] = command
                if " " in name:
                    self._containers.add(name.split(" ")[0])
        return self.look_up(words)[0]

    def _find(self, name: str) -> Command | None:
        return COMMANDS.get(name) or self._learned.get(name)


def _named(asked: str, reply: Any) -> dict[str, Command]:
    """Return a command and its subcommands, under the name that was asked for."""
    told, rows = len(as_text(reply[0])), command_rows(reply)
    made = [command_of(asked + former[told:], row, former) for former, row in rows.items()]
    return {command.name: command for command in made}


def command_info_request(words: Args) -> Args:
    """Return the command that asks a server to describe an unknown command.

    Args:
        words: the call, as `CommandRegistry.look_up` returned it.
    """
    return ("COMMAND", "INFO", words[0])


TABLE_REGISTRY = CommandRegistry()
"""Knows the commands of the table alone; `learn` is never called on it."""
