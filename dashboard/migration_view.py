"""Turns the resize of a pool's status into the panel of its page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from dashboard.upstream import Json
from dashboard.view_model import MigrationPanel, MigrationSource, Phase

_PHASES = {"clearing": "clear", "preparing": "prepare", "paused": "prepare", "moving": "move"}
_NO_REASON = ("", "keys move", "an operator has paused it")


def migration_of(status: Json, hues: Mapping[str, int]) -> MigrationPanel | None:
    """Return the resize under way, or None.

    Args:
        status: of the pool.
        hues: shard -> the number of its colour.
    """
    resize = status.get("resize")
    if resize is None:
        return None
    moves = resize["strategy"] == "move"
    sources = tuple(_source(each, hues) for each in resize["sources"])
    sizes = [each.size for each in sources if each.size is not None]
    why = str(resize["detail"])
    return MigrationPanel(
        summary=str(resize["summary"]),
        actor=str(resize["actor"]).removeprefix("token:"),
        state="paused" if status.get("pause") else _state(resize),
        phases=_phases(resize),
        moves=moves,
        back=bool(resize["back"]),
        paused=bool(resize["paused"]),
        stage=int(resize["stage"]) + 1,
        stages=int(resize["stages"]),
        share=resize["share"],
        moved=int(resize["moved"]),
        size=sum(sizes) if sizes else None,
        left=resize["left"],
        rate=float(resize["rate"]),
        seconds_left=resize["seconds_left"],
        longest_hold=resize["longest_hold"] or None,
        keys_per_second=int(resize["keys_per_second"]),
        max_latency=int(resize["max_latency"]),
        why="" if why in _NO_REASON else why,
        fenced=tuple(status.get("fenced") or ()),
        lost=tuple(resize.get("lost") or ()),
        sources=sources,
    )


def _state(resize: Json) -> str:
    """Return in a word or two how it is."""
    if resize["paused"]:
        return "paused"
    word = "waiting" if resize["state"] == "paused" else str(resize["state"])
    return f"{word} back" if resize["back"] else word


def _phases(resize: Json) -> tuple[Phase, ...]:
    """Return what a resize goes through, in order."""
    words = ["prepare", "move back" if resize["back"] else "move"]
    if resize["state"] == "clearing":
        words.insert(0, "clear")
    if resize["strategy"] != "move":
        words.remove("move")
    now = _PHASES.get(resize["state"], "")
    at = next((i for i, word in enumerate(words) if now and word.startswith(now)), -1)
    return tuple(Phase(word, _standing(index, at)) for index, word in enumerate([*words, "done"]))


def _standing(index: int, now: int) -> Literal["past", "now", "to come"]:
    if index == now:
        return "now"
    return "past" if index < now else "to come"


def _source(told: Json, hues: Mapping[str, int]) -> MigrationSource:
    moved, left = told["moved"], told["left"]
    share = None
    if told["state"] == "done":
        share = 1.0
    elif moved is not None and left is not None:
        share = moved / (moved + left) if moved + left else 1.0
    return MigrationSource(
        shard=str(told["shard"]),
        hue=hues.get(str(told["shard"]), 0),
        to=tuple(told["to"]),
        state=str(told["state"]),
        share=share,
        moved=moved,
        size=told["bytes_moved"],
        left=left,
        why=str(told["detail"]),
    )
