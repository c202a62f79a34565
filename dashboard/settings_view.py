"""The settings of a pool as their page shows them: all of them, what changes, who applies that."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cachemesh.core.plurals import counted
from cachemesh.core.pool.settings import SETTINGS, Setting
from dashboard.upstream import Json

_NAMED = 10  # clients


@dataclass(frozen=True)
class SettingRow:
    """A setting, and the field that changes it.

    Attributes:
        name: as in the pool document.
        doc: what it does, with its unit.
        takes: the values that it takes, in words; "" where that is not known.
        default: in words.
        value: the pool's own, in words; None where the default holds.
        choices: the values to choose from; empty where one is typed.
        typed: what the field holds; "" stands for the default.
        was: what it held when the page was opened.
    """

    name: str
    doc: str
    takes: str
    default: str
    value: str | None
    choices: tuple[str, ...]
    typed: str
    was: str


@dataclass(frozen=True)
class SettingDiff:
    """A setting that changes, with its values in words."""

    name: str
    doc: str
    before: str
    after: str


@dataclass(frozen=True)
class Audience:
    """Who applies a change of settings.

    Attributes:
        told: in a sentence.
        own: of the clients that keep a value of their own, one sentence each.
        more: how many further such clients there are.
    """

    told: str
    own: tuple[str, ...]
    more: int


def setting_rows(
    settings: Json, typed: Mapping[str, str] | None = None, was: Mapping[str, str] | None = None
) -> tuple[SettingRow, ...]:
    """Return all settings, those of a newer release that the pool has last.

    Args:
        settings: of the pool.
        typed: what the user has entered, by name; None: nothing yet.
        was: what the fields held before that, by name.
    """
    newer = [name for name in settings if name not in SETTINGS]
    return tuple(_row(name, settings, typed or {}, was or {}) for name in (*SETTINGS, *newer))


def _row(name: str, settings: Json, typed: Mapping[str, str], was: Mapping[str, str]) -> SettingRow:
    setting, given = SETTINGS.get(name), name in settings
    value = in_words(settings[name]) if given else None
    before = was.get(name, value or "")
    return SettingRow(
        name=name,
        doc="A setting of a newer release, which can be given its default"
        if setting is None
        else setting.doc,
        takes="" if setting is None else setting.takes,
        default="" if setting is None else in_words(setting.default),
        value=value,
        choices=(value or "",) if setting is None else _choices(setting),
        typed=typed.get(name, before),
        was=before,
    )


def _choices(setting: Setting) -> tuple[str, ...]:
    return ("true", "false") if isinstance(setting.default, bool) else setting.words


def in_words(value: object) -> str:
    """Return a setting's value as it is shown, and typed."""
    if value is None:
        return "none"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value)


def changed(typed: Mapping[str, str], was: Mapping[str, str], settings: Json) -> dict[str, object]:
    """Return what the user has changed, as the metaserver's API takes it.

    A field that the user has left alone changes nothing, also if another operator has changed the
    setting meanwhile.

    Args:
        typed: what the fields hold, by name.
        was: what they held before.
        settings: of the pool.
    """
    values = {name: _value(name, text) for name, text in typed.items() if text != was.get(name)}
    return {name: value for name, value in values.items() if value != settings.get(name)}


def _value(name: str, text: str) -> object:
    """Return a typed value with its type; None for the default.

    A text that is no value is returned as it is: the metaserver says what is wrong with it.
    """
    setting = SETTINGS.get(name)
    if not text:
        return None
    if setting is None or setting.words:
        return text
    if isinstance(setting.default, bool):
        return {"true": True, "false": False}.get(text, text)
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if number.is_integer() else number


def setting_diff(before: Json, after: Json) -> tuple[SettingDiff, ...]:
    """Return the settings that differ, with the words for a default where none is given.

    Args:
        before, after: the pool's settings.
    """
    names = [name for name in (*SETTINGS, *before) if before.get(name) != after.get(name)]
    return tuple(
        SettingDiff(
            name,
            SETTINGS[name].doc if name in SETTINGS else "A setting of a newer release",
            _shown(name, before),
            _shown(name, after),
        )
        for name in dict.fromkeys(names)
    )


def _shown(name: str, settings: Json) -> str:
    if name in settings:
        return in_words(settings[name])
    return f"{in_words(SETTINGS[name].default)} (default)" if name in SETTINGS else "the default"


def audience(clients: Sequence[Json], names: Collection[str]) -> Audience:
    """Return who applies a change.

    Args:
        clients: as the metaserver lists them.
        names: of the settings that change.
    """
    live = [client for client in clients if client.get("lease") != "over"]
    kept = {
        name: [(client, client["settings"][name]) for client in live if name in _own(client)]
        for name in names
    }
    own = [
        f"{_client(client)} goes by its own {name}: {value}"
        for name, found in kept.items()
        for client, value in found
    ]
    if not live:
        told = "No client runs just now; each applies it when it starts."
    elif len(live) == 1:
        told = "The client that runs applies it as soon as it hears of it, within a second or so."
    else:
        told = (
            f"{counted(len(live), 'running client')} apply it as soon as they hear of it, within a "
            "second or so."
        )
    return Audience(told, tuple(own[:_NAMED]), max(0, len(own) - _NAMED))


def _own(client: Json) -> Json:
    own: Json = client.get("settings") or {}
    return own


def _client(client: Json) -> str:
    """Return which client it is, in words."""
    where = client.get("host") or client.get("address") or "an unknown host"
    process = f", process {client['process']}" if client.get("process") else ""
    return f"{client.get('app') or client.get('client')} on {where}{process}"
