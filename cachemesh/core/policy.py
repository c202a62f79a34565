"""A client's policy: what it retries, what it raises, where it reads, and how long it waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cachemesh.core.errors import ConfigurationError
from cachemesh.core.pool.settings import SETTINGS
from cachemesh.core.reads.read_preference import Reading
from cachemesh.core.resilience.retry import Timeouts

OPTIONS = frozenset(SETTINGS) - {"poll_interval"}
"""The pool's settings that a client may override."""

BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
"""Text of an option, in lower case -> the value that the text means."""


@dataclass(frozen=True)
class Policy:
    """A client's policy.

    Attributes:
        timeouts: how long the client waits.
        reading: where the client reads.
        retry_writes: send a write again that may have run.
        misses: answer reads of a shard that does not serve as misses, and drop writes to it.
        refuses_unleased: raise an error in place of serving without a lease.
    """

    timeouts: Timeouts
    reading: Reading
    retry_writes: bool
    misses: bool
    refuses_unleased: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Any], settings: Mapping[str, Any]) -> Policy:
        """Combine a client's own options with the pool's settings; the options win.

        Args:
            options: names of `OPTIONS`, and redis-py's ``socket_timeout`` (seconds, None for ever)
                and ``socket_connect_timeout`` (seconds). Other names are ignored.
            settings: of the pool.
        """
        defaults = {name: setting.default for name, setting in SETTINGS.items()}
        known: dict[str, Any] = {**defaults, **settings}
        known.update(own_settings(options))
        return cls(
            Timeouts(known["command_timeout"], known["connect_timeout"]),
            Reading(known["read_from"], known["max_lag"]),
            known["retry_writes"],
            known["on_error"] == "miss",
            known["on_lease_lost"] == "refuse",
        )


_MOST_TOLD = 64  # characters
_REDIS_PY = {"command_timeout": "socket_timeout", "connect_timeout": "socket_connect_timeout"}


def own_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the pool that a client's own options override, with their values.

    Args:
        options: as of `Policy.of`.
    """
    own = {ours: options[theirs] for ours, theirs in _REDIS_PY.items() if theirs in options}
    own.update({name: options[name] for name in OPTIONS & options.keys()})
    return own


def told_settings(clients: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return in words which settings the clients of a process override.

    Args:
        clients: the own settings of each.

    Returns:
        Name -> the value; several values if the clients differ, as in ``0.5, pool``, where *pool*
        stands for the clients that go by the pool's.
    """
    told = {}
    for name in sorted({name for own in clients for name in own}):
        values = {_word(own[name]) if name in own else "pool" for own in clients}
        told[name] = ", ".join(sorted(values))[:_MOST_TOLD]
    return told


def _word(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a client's options with types and bounds checked; text, as in a URL, is converted.

    Args:
        options: names of `OPTIONS`.

    Raises:
        ConfigurationError: an option is not valid; the message names the option and its values.
    """
    checked = {}
    for name, value in options.items():
        setting = SETTINGS[name]
        if isinstance(value, str) and not setting.words:
            value = _parsed(value, isinstance(setting.default, bool))
        if not (setting.allows(value) or (name == "max_lag" and value is None)):
            raise ConfigurationError(f"Option {name} takes {setting.takes}")
        checked[name] = value
    return checked


def _parsed(text: str, boolean: bool) -> object:
    if boolean:
        return BOOLEANS.get(text.lower(), text)
    try:
        return float(text)
    except ValueError:
        return text
