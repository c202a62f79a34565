"""What the doctor finds, as its page shows it."""

from __future__ import annotations

from typing import Any

from dashboard.findings import MOST, Place, Unchecked, findings_of


def finding(rule: str, severity: str, at: str | None, impact: str = "bad") -> dict[str, Any]:
    return {
        "rule": rule,
        "severity": severity,
        "shard": "cache-0" if at else None,
        "at": at,
        "configured": "x 1",
        "impact": impact,
        "next_step": "type this",
    }


def test_those_of_a_kind_stand_together_in_the_order_told() -> None:
    told = {
        "findings": [
            finding("b", "error", "h:1"),
            finding("a", "warning", "h:1"),
            finding("b", "error", "h:2"),
            finding("b", "error", None, "worse"),
        ],
        "not_checked": [{"at": ["h:3"], "reason": "refused", "rules": ["a", "b"]}],
    }
    found = findings_of(told)
    assert [(each.rule, each.impact, len(each.places)) for each in found.kinds] == [
        ("b", "bad", 2),
        ("a", "bad", 1),
        ("b", "worse", 1),
    ]
    assert found.kinds[2].places == (Place("", "", "x 1", "type this"),)
    assert [found.count(each) for each in ("error", "warning", "note")] == [3, 1, 0]
    assert found.not_checked == (Unchecked(("h:3",), "refused", 2),)
    assert not found.forgotten


def test_many_places_are_counted() -> None:
    many = [finding("a", "note", f"h:{number}") for number in range(MOST + 3)]
    many[0]["next_step"] = "redis-cli CONFIG SET x 2"
    found = findings_of({"findings": many, "not_checked": []})
    (kind,) = found.kinds
    assert (len(kind.places), kind.more, kind.state) == (MOST, 3, "info")
    assert found.count("note") == MOST + 3
    assert found.forgotten
