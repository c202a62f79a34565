"""What `cachemesh doctor` finds in a pool's configuration, as its page shows it."""

from __future__ import annotations

from dataclasses import dataclass

from dashboard.upstream import Json

MOST = 12
"""Places of one kind that are shown."""

STATES = {"error": "down", "warning": "degraded", "note": "info"}
"""Severity -> the state whose colour and icon it has."""


@dataclass(frozen=True)
class Place:
    """Where something is configured wrong.

    Attributes:
        shard: its name; "" for what is about the pool.
        at: address of the server; "" likewise.
        configured: what is set there.
        next_step: what to type.
    """

    shard: str
    at: str
    configured: str
    next_step: str


@dataclass(frozen=True)
class FindingKind:
    """The findings of one rule with the same impact.

    Attributes:
        severity: "error", "warning" or "note".
        rule: its name, by which docs/doctor.md has it.
        impact: what follows, in words.
        places: the first `MOST` of them.
        more: how many are left out.
    """

    severity: str
    rule: str
    impact: str
    places: tuple[Place, ...]
    more: int

    @property
    def state(self) -> str:
        """The state whose colour and icon it has."""
        return STATES.get(self.severity, "info")


@dataclass(frozen=True)
class Unchecked:
    """Servers that could not be asked for some rules.

    Attributes:
        at: their addresses.
        reason: in words.
        rules: how many rules want what is not known.
    """

    at: tuple[str, ...]
    reason: str
    rules: int


@dataclass(frozen=True)
class Findings:
    """What was found in a pool, the worst first."""

    kinds: tuple[FindingKind, ...]
    not_checked: tuple[Unchecked, ...]

    def count(self, severity: str) -> int:
        """Return how many places are of a severity."""
        return sum(len(each.places) + each.more for each in self.kinds if each.severity == severity)

    @property
    def forgotten(self) -> bool:
        """Whether a step sets what a server forgets when it ends."""
        steps = (place.next_step for each in self.kinds for place in each.places)
        return any("CONFIG SET" in step for step in steps)


def findings_of(told: Json) -> Findings:
    """Return what `GET .../findings` tells, those of one rule with the same impact together."""
    places: dict[tuple[str, str, str], list[Place]] = {}
    for each in told["findings"]:
        kind = (each["severity"], each["rule"], each["impact"])
        place = Place(each["shard"] or "", each["at"] or "", each["configured"], each["next_step"])
        places.setdefault(kind, []).append(place)
    kinds = (
        FindingKind(*kind, tuple(found[:MOST]), max(0, len(found) - MOST))
        for kind, found in places.items()
    )
    unknown = (
        Unchecked(tuple(each["at"]), each["reason"], len(each["rules"]))
        for each in told["not_checked"]
    )
    return Findings(tuple(kinds), tuple(unknown))
