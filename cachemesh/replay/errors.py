"""The error of a trace that cannot be read."""

from __future__ import annotations

from cachemesh.core.errors import CacheMeshError


class TraceError(CacheMeshError, ValueError):
    """A trace cannot be read; the message names the file, the byte and the next step.

    Args:
        name: of the file.
        detail: what is wrong, and where.
        next_step: what to do about it.
    """

    def __init__(self, name: str, detail: str, next_step: str) -> None:
        self.name = name
        self.next_step = next_step
        super().__init__(f"trace {name}: {detail}; {next_step}")
