"""Shows what `cachemesh doctor` has found in the configuration of a pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from cachemesh.cli.output import printable

_MOST = 6  # places of one kind that are shown
_INDENT = " " * 9


def show_findings(
    findings: Sequence[Mapping[str, Any]], not_checked: Sequence[Mapping[str, Any]]
) -> None:
    """Print findings, those of one rule with the same impact together."""
    kinds: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for each in findings:
        kinds.setdefault((each["severity"], each["rule"], each["impact"]), []).append(each)
    for (severity, rule, impact), places in kinds.items():
        _echo(f"{severity:<7}  {rule}: {impact}")
        for line in _lines(places):
            _echo(f"{_INDENT}{line}")
    if any("CONFIG SET" in each["next_step"] for each in findings):
        _echo("CONFIG SET lasts until the server ends: write it into its redis.conf too")
    for each in not_checked:
        rules = f" ({len(each['rules'])} rules)" if each["rules"] else ""
        _echo(f"unknown  {', '.join(each['at'])}: {each['reason']}{rules}")


def _lines(places: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for each in places[:_MOST]:
        where = " ".join(part for part in (each["shard"], each["at"]) if part)
        yield f"{where}: {each['configured']}" if where else each["configured"]
        yield f"-> {each['next_step']}"
    if len(places) > _MOST:
        yield f"and {len(places) - _MOST} more: cachemesh doctor -o json"


def _echo(line: str) -> None:
    click.echo(printable(line))
