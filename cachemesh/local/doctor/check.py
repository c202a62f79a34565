"""What `cachemesh doctor` says about one thing it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """One line of the report. `state`: "ok", "warn" or "fail"."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    next_step: str | None = None


def ok(name: str, detail: str) -> Check:
    return Check(name, "ok", detail)


def warn(name: str, detail: str, next_step: str) -> Check:
    return Check(name, "warn", detail, next_step)


def fail(name: str, detail: str, next_step: str) -> Check:
    return Check(name, "fail", detail, next_step)


def failed(name: str, error: Exception, next_step: str) -> Check:
    """A failure told by an error: of "what is wrong; what to do" each half in its place."""
    detail, _, given = str(error).partition("\n")[0].partition("; ")
    return Check(name, "fail", detail or type(error).__name__, given or next_step)
