"""Settings of a pool: live configuration that every running client applies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cachemesh.core.errors import InvalidDocumentError

Value = float | bool | str | None


@dataclass(frozen=True)
class Setting:
    """What the operator may set on a pool: a number, one of some words, or true or false.

    Attributes:
        name: as in the pool document.
        default: what a client uses when the document does not say.
        doc: what it does, with its unit.
        minimum, maximum: bounds of a number, inclusive.
        words: if it is a word, those it may be.
    """

    name: str
    default: Value
    doc: str
    minimum: float = 0.0
    maximum: float = 3600.0
    words: tuple[str, ...] = ()

    @property
    def takes(self) -> str:
        """What values it may have, in words."""
        if isinstance(self.default, bool):
            return "true or false"
        if self.words:
            return f"one of {', '.join(self.words)}"
        return f"a number from {self.minimum:g} to {self.maximum:g}"

    def allows(self, value: object) -> bool:
        """Whether it may be that."""
        if isinstance(self.default, bool) or isinstance(value, bool):
            return isinstance(self.default, bool) and isinstance(value, bool)
        if self.words:
            return value in self.words
        return (
            isinstance(value, (int, float))
            and math.isfinite(value)
            and self.minimum <= value <= self.maximum
        )


_ALL = (
    Setting(
        "command_timeout",
        5.0,
        "Seconds an app waits for a command, with connecting and trying again",
        minimum=0.001,
    ),
    Setting("connect_timeout", 1.0, "Seconds to connect to an instance", minimum=0.001),
    Setting("poll_interval", 3.0, "Seconds between looks at Sentinel for the masters", minimum=0.1),
    Setting("retry_writes", False, "Whether a write that may have run is sent again"),
    Setting(
        "on_error",
        "raise",
        "What an app sees of a shard that does not serve: an error, or for reads a miss, while "
        "writes are dropped",
        words=("raise", "miss"),
    ),
    Setting(
        "read_from",
        "master",
        "Which instances of a shard answer reads",
        words=("master", "replica", "prefer_replica", "weighted"),
    ),
    Setting(
        "max_lag", None, "Seconds that a replica which is read from may be behind", minimum=0.001
    ),
)
SETTINGS: dict[str, Setting] = {setting.name: setting for setting in _ALL}


def check_settings(values: object, *, keep_unknown: bool = False) -> dict[str, object]:
    """Settings with their types and bounds checked.

    Args:
        values: name -> value.
        keep_unknown: pass on settings this release does not know (those of a newer one) instead
            of refusing them.

    Raises:
        InvalidDocumentError: names the setting, what it got and what it takes.
    """
    if not isinstance(values, Mapping):
        raise InvalidDocumentError("settings is not an object")
    checked: dict[str, object] = {}
    for name, value in values.items():
        setting = SETTINGS.get(name)
        if setting is None:
            if not keep_unknown:
                known = ", ".join(SETTINGS)
                raise InvalidDocumentError(f"Unknown setting {str(name)!r:.80}; known are: {known}")
        elif not setting.allows(value):
            raise InvalidDocumentError(
                f"Setting {name!r} is {value!r:.80}; it takes {setting.takes} ({setting.doc})"
            )
        checked[name] = value
    return checked


def setting_value(values: Mapping[str, object], name: str) -> float:
    """The value of a number, its default when it is not set."""
    value = values.get(name, SETTINGS[name].default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"setting {name} is no number")
    return float(value)
