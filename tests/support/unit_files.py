"""The systemd units of `deploy/systemd`: their settings, their commands with variables filled.

Source: man systemd.syntax, systemd.service (Command lines), systemd.exec (EnvironmentFile).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from tests.support.metaserver_process import ROOT

UNITS = ROOT / "deploy" / "systemd"
CREDENTIALS = "CREDENTIALS_DIRECTORY"


def settings(unit: Path) -> dict[str, list[str]]:
    """Return every setting of a unit file, with its values in their order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        name, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def environment_of(file: Path) -> dict[str, str]:
    """Return the variables of an environment file."""
    lines = file.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def command_line(unit: Path, variables: Mapping[str, str]) -> list[str]:
    """Return the words of a unit's ExecStart as systemd starts it.

    `${NAME}` stands for one word or a part of one, `$NAME` for as many as its value has.
    """
    (command,) = settings(unit)["ExecStart"]
    words: list[str] = []
    for word in shlex.split(command):
        if whole := re.fullmatch(r"\$([A-Z_]+)", word):
            words += shlex.split(variables[whole[1]])
        else:
            words.append(re.sub(r"\$\{([A-Z_]+)\}", lambda name: variables[name[1]], word))
    return words
