"""Settings of a pool: live configuration that every running client applies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cachemesh.core.errors import InvalidDocumentError


@dataclass(frozen=True)
class Setting:
    """A number the operator may set on a pool.

    Attributes:
        name: as in the pool document.
        default: what a client uses when the document does not say.
        minimum, maximum: bounds, inclusive.
        doc: what it does, with its unit.
    """

    name: str
    default: float
    minimum: float
    maximum: float
    doc: str


_ALL = (
    Setting("command_timeout", 5.0, 0.001, 3600.0, "Seconds an app waits for one reply of a shard"),
    Setting("connect_timeout", 1.0, 0.001, 3600.0, "Seconds to connect to an instance"),
    Setting("poll_interval", 3.0, 0.1, 3600.0, "Seconds between looks at Sentinel for the masters"),
)
SETTINGS: dict[str, Setting] = {setting.name: setting for setting in _ALL}


def check_settings(values: object, *, keep_unknown: bool = False) -> dict[str, object]:
    """Settings with their types and bounds checked.

    Args:
        values: name -> number.
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
        elif (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
            or not setting.minimum <= value <= setting.maximum
        ):
            raise InvalidDocumentError(
                f"Setting {name!r} is {value!r:.80}; it takes a number from "
                f"{setting.minimum:g} to {setting.maximum:g} ({setting.doc})"
            )
        checked[name] = value
    return checked


def setting_value(values: Mapping[str, object], name: str) -> float:
    """The value of a setting, its default when it is not set."""
    value = values.get(name, SETTINGS[name].default)
    return float(value) if isinstance(value, (int, float)) else SETTINGS[name].default
