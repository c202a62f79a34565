"""Settings of a pool: live configuration that every running client applies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cachemesh.core.errors import InvalidDocumentError

Value = float | bool | str | None


@dataclass(frozen=True)
class Setting:
    """A setting of a pool: a number, a word, or true or false.

    Attributes:
        name: as in the pool document.
        default: the value where the document gives none; its type decides which values are allowed.
        doc: what the setting does, with its unit.
        minimum, maximum: inclusive bounds of a number.
        words: the allowed words; empty if the setting is not a word.
    """

    name: str
    default: Value
    doc: str
    minimum: float = 0.0
    maximum: float = 3600.0
    words: tuple[str, ...] = ()

    @property
    def takes(self) -> str:
        """The allowed values, in words."""
        if isinstance(self.default, bool):
            return "true or false"
        if self.words:
            return f"one of {', '.join(self.words)}"
        return f"a number from {self.minimum:g} to {self.maximum:g}"

    def allows(self, value: object) -> bool:
        """Whether the setting takes this value.

        Args:
            value: of any type.
        """
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
    Setting(
        "on_lease_lost",
        "serve",
        "What an app gets once no metaserver has answered for the time of a lease: service by the "
        "last known shards, or an error",
        words=("serve", "refuse"),
    ),
)
SETTINGS: dict[str, Setting] = {setting.name: setting for setting in _ALL}


def check_settings(values: object, *, keep_unknown: bool = False) -> dict[str, object]:
    """Return settings with their types and bounds checked.

    Args:
        values: name -> value.
        keep_unknown: keep settings that this release does not know, such as those of a newer one,
            instead of refusing them.

    Raises:
        InvalidDocumentError: a setting is unknown or not valid; the message names the setting, its
            value and the allowed values.
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
    """Return the value of a numeric setting, or its default.

    Args:
        values: the pool's settings.
        name: of the setting.

    Raises:
        TypeError: the setting is not a number.
    """
    value = values.get(name, SETTINGS[name].default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"setting {name} is no number")
    return float(value)
