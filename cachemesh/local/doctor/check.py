"""The outcome of one check of `cachemesh doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """The outcome of one check, a line of the report.

    Attributes:
        name: what was checked.
        state: "ok", "warn" or "fail".
        detail: what was found.
        next_step: what to do about it; None for "ok".
    """

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    next_step: str | None = None


def ok(name: str, detail: str) -> Check:
    """Return a check that found all well."""
    return Check(name, "ok", detail)


def warn(name: str, detail: str, next_step: str) -> Check:
    """Return a check that found something to improve."""
    return Check(name, "warn", detail, next_step)


def fail(name: str, detail: str, next_step: str) -> Check:
    """Return a check that found something wrong."""
    return Check(name, "fail", detail, next_step)


def failed(name: str, error: Exception, next_step: str) -> Check:
    """Return a failed check made of an error.

    Args:
        name: what was checked.
        error: its first line reads "what is wrong; what to do", or only "what is wrong".
        next_step: what to do if the error does not say it.
    """
    detail, _, given = str(error).partition("\n")[0].partition("; ")
    return Check(name, "fail", detail or type(error).__name__, given or next_step)
