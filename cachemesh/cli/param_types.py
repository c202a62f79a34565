"""Types of command-line arguments that click does not have."""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone
from typing import Any

import click

from cachemesh.core.durations import duration_seconds
from cachemesh.discovery.since_time import since_time

_BYTES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


class Number(click.FloatRange):
    """A number within bounds. click's own type accepts nan within any bounds."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Convert an argument to a number. Raises click.BadParameter through ``fail``."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{number} is not a number.", param, ctx)
        return number


def duration(_context: click.Context, _param: click.Parameter, given: str | None) -> int | None:
    """Return an option such as 45s, 30m, 12h or 90d in seconds; the callback of the option.

    Raises:
        click.BadParameter: the option is no duration.
    """
    if given is None:
        return None
    seconds = duration_seconds(given)
    if seconds is None:
        raise click.BadParameter(f"{given!r} is no duration; write it like 45s, 30m, 12h or 90d")
    return seconds


def since(_context: click.Context, _param: click.Parameter, given: str | None) -> str | None:
    """Return a duration before now, or a time, as RFC 3339 in UTC; the callback of an option.

    A time without a zone is in UTC.

    Raises:
        click.BadParameter: the option is neither.
    """
    if given is None:
        return None
    try:
        return since_time(given, datetime.now(timezone.utc))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def byte_count(_context: click.Context, _param: click.Parameter, given: str | None) -> int | None:
    """Return an option such as 500000, 64K, 10M or 2G in bytes; the callback of the option.

    K, M and G are powers of 1024.

    Raises:
        click.BadParameter: the option is no number of bytes from 1 on.
    """
    if given is None:
        return None
    found = re.fullmatch(r"([0-9]{1,12})([KMG]?)", given.upper(), re.ASCII)
    count = 0 if found is None else int(found[1]) * _BYTES[found[2]]
    if not 1 <= count < 2**53:
        raise click.BadParameter(f"{given!r} is no size; write it like 500000, 64K, 10M or 2G")
    return count
