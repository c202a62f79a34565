"""How resizes ended, as the audit log tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Json = Mapping[str, Any]


@dataclass(frozen=True)
class ResizeEnd:
    """The end of a resize.

    Attributes:
        pool, resize: the pool, and the id of its resize.
        at: RFC 3339 in UTC.
        how: "turned back" if its keys had to be moved back, as it was given up.
        summary: of the change that was asked for.
        strategy, asked_by, began, moved: as in its status; None of an earlier release's resize.
        given_up_by: who did; None if it was not given up.
    """

    pool: str
    resize: int
    at: str
    how: Literal["done", "turned back", "given up"]
    summary: str
    strategy: str | None
    asked_by: str | None
    began: str | None
    moved: int | None
    given_up_by: str | None


def ends(events: Iterable[Json]) -> list[ResizeEnd]:
    """Return the ends of resizes among events of the audit log, in the order of the events."""
    listed = [each for each in events if (each["after"] or {}).get("resize") is not None]
    turned = {_key(each): each["actor"] for each in listed if each["action"] == _TURNED_BACK}
    return [_end(each, turned) for each in listed if each["action"] in _ENDS]


_TURNED_BACK = "resize.turned-back"
_ENDS = ("resize.done", "resize.given-up")


def _key(event: Json) -> tuple[str, int]:
    return event["pool"], event["after"]["resize"]


def _end(event: Json, turned: Mapping[tuple[str, int], str]) -> ResizeEnd:
    told, key = event["after"], _key(event)
    given_up = event["action"] == "resize.given-up"
    back = key in turned or bool(told.get("back"))
    return ResizeEnd(
        *key,
        at=event["at"],
        how="given up" if given_up else "turned back" if back else "done",
        summary=told.get("summary") or event["detail"],
        strategy=told.get("strategy"),
        asked_by=told.get("asked_by"),
        began=told.get("began"),
        moved=told.get("moved"),
        given_up_by=event["actor"] if given_up else turned.get(key),
    )
