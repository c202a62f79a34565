"""The head of a deployment in ZooKeeper: the number of its last change, and the last changes.

Every change sets the head, at the version that its process has read, together with the parts that
it writes. So changes come one after the other, and whoever has seen the head knows what is new. A
process that reads the head again mostly finds there what it has missed, and reads nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metaserver.store.replicated_tables import Part, Rows
from metaserver.store.sqlite_schema import SCHEMA_VERSION

_KEPT = 128  # changes
_KEPT_BYTES = 16 * 1024  # of the rows of all changes that are kept; ZooKeeper logs each head whole
_NEWEST_BYTES = 64 * 1024  # of the rows of the last change, if they are more than that


class UnreadableHeadError(ValueError):
    """The head is not what a metaserver writes."""


@dataclass(frozen=True)
class RecentChange:
    """A change that the head still tells of.

    Attributes:
        id: the number of the change.
        mark: a text that no other change has.
        parts: the parts that it wrote; None for rows that a later change tells, or that are to be
            read from their own place.
    """

    id: int
    mark: str
    parts: Mapping[Part, Rows | None]


@dataclass(frozen=True)
class Head:
    """The head.

    Attributes:
        id: the number of the last change.
        sequences: table -> the last id that was given out.
        recent: the last changes, oldest first.
        schema: the version of the tables that the parts are of.
    """

    id: int = 0
    sequences: Mapping[str, int] | None = None
    recent: tuple[RecentChange, ...] = ()
    schema: int = SCHEMA_VERSION

    def has(self, mark: str) -> bool:
        """Return whether a change of this mark is among the last ones."""
        return any(change.mark == mark for change in self.recent)

    def since(self, change_id: int) -> dict[Part, Rows | None] | None:
        """Return what was written after a change; None: the head does not go back so far."""
        missed = [change for change in self.recent if change.id > change_id]
        if len(missed) != self.id - change_id:
            return None
        found: dict[Part, Rows | None] = {}
        for change in missed:
            found.update(change.parts)
        return found

    def after(self, mark: str, parts: Mapping[Part, Rows], sequences: Mapping[str, int]) -> Head:
        """Return the head after one more change."""
        recent = [*self.recent, RecentChange(self.id + 1, mark, dict(parts))][-_KEPT:]
        room = _KEPT_BYTES
        kept: list[RecentChange] = []
        written_later: set[Part] = set()
        for change in reversed(recent):
            # Who has missed this change has missed the later ones too.
            rows = {part: None if part in written_later else r for part, r in change.parts.items()}
            written_later.update(rows)
            size = len(json.dumps(list(rows.values())))
            room -= size
            told = room >= 0 or (not kept and size <= _NEWEST_BYTES)
            known = rows if told else dict.fromkeys(rows)
            kept.append(RecentChange(change.id, change.mark, known))
        return Head(
            self.id + 1, dict(sequences), tuple(reversed(kept)), max(self.schema, SCHEMA_VERSION)
        )

    def encode(self) -> bytes:
        """Return the head as JSON."""
        content = {
            "format": 1,
            "schema": self.schema,
            "id": self.id,
            "sequences": dict(self.sequences or {}),
            "recent": [
                [change.id, change.mark, [[*part, rows] for part, rows in change.parts.items()]]
                for change in self.recent
            ],
        }
        return json.dumps(content, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> Head:
        """Return the head that `encode` has written.

        Raises:
            UnreadableHeadError: it is something else, or of a later format.
        """
        try:
            content: dict[str, Any] = json.loads(data)
            if content["format"] != 1:
                raise UnreadableHeadError(f"its format is {content['format']!r:.40}, not 1")
            recent = tuple(
                RecentChange(
                    int(number), str(mark), {(str(t), str(p)): rows for t, p, rows in parts}
                )
                for number, mark, parts in content["recent"]
            )
            sequences = {str(table): int(last) for table, last in content["sequences"].items()}
            return cls(int(content["id"]), sequences, recent, int(content["schema"]))
        except UnreadableHeadError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UnreadableHeadError("it is no JSON of a metaserver") from error
