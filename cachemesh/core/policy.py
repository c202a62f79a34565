"""A client's policy: what it retries, what it raises, where it reads, and how long it waits."""

from __future__ import annotations

from collections.abc import Mapping
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
        for ours, theirs in _REDIS_PY.items():
            if theirs in options:
                known[ours] = options[theirs]
        known.update({name: options[name] for name in OPTIONS & options.keys()})
        return cls(
            Timeouts(known["command_timeout"], known["connect_timeout"]),
            Reading(known["read_from"], known["max_lag"]),
            known["retry_writes"],
            known["on_error"] == "miss",
            known["on_lease_lost"] == "refuse",
        )


_REDIS_PY = {"command_timeout": "socket_timeout", "connect_timeout": "socket_connect_timeout"}


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
