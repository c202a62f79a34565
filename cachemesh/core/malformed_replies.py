"""Replies of a form that no server of the expected kind sends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis


@contextmanager
def reading_reply(speaker: str = "Redis") -> Iterator[None]:
    """Turn a reply of unexpected form, parsed in the block, into redis.InvalidResponse.

    Args:
        speaker: the kind of server that was expected, for the message.

    Raises:
        redis.InvalidResponse: in place of TypeError, AttributeError, LookupError or ValueError.
    """
    try:
        yield
    except (TypeError, AttributeError, LookupError, ValueError) as error:
        what = type(error).__name__
        raise redis.InvalidResponse(
            f"the reply is not one of {speaker}'s ({what}); check what listens at this address"
        ) from error
