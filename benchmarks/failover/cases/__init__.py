"""The rows of the table: each module has one or two cases; `CASES` lists all, in order."""

from __future__ import annotations

from .acl import LeastRights
from .base import Case, CaseResult, CaseSettings
from .counting import Counting
from .crowd import Crowd
from .dead import Dead, Silent
from .deaf import Deaf
from .freeze import Freeze
from .kill import Kill, KillMiss
from .planned import Planned, PlannedOthers

CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Planned(),
        PlannedOthers(),
        Kill(),
        KillMiss(),
        Freeze(),
        Counting(),
        Dead(),
        Silent(),
        Crowd(),
        Deaf(),
        LeastRights(),
    )
}

__all__ = ["CASES", "Case", "CaseResult", "CaseSettings"]
