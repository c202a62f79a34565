"""Replies that no server of the expected kind gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis


@contextmanager
def reading_reply(speaker: str = "Redis") -> Iterator[None]:
    """Around the reading of an answer: what has another form is an error like any other.

    Raises:
        redis.InvalidResponse: in place of what Python raises; it is not how ``speaker`` answers.
    """
    try:
        yield
    except (TypeError, AttributeError, LookupError, ValueError) as error:
        what = type(error).__name__
        raise redis.InvalidResponse(
            f"what it says is not of {speaker} ({what}); is something else listening"
        ) from error
