"""What a workload asks of a peer, and what a peer asks of this machine."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.servers import Servers

RESP = 3
"""All peers speak it but those that cannot."""


class PeerMissingError(Exception):
    """A peer cannot run here; the message says what is missing and how to get it."""


@dataclass(frozen=True)
class PeerClient:
    """What a connected peer does. Functions of its own where possible, so nothing stands between.

    Those of an asyncio peer return awaitables. Values are bytes.

    Attributes:
        get: key -> value or None.
        set: key, value -> anything.
        mget: keys -> values in their order.
        pipeline: keys -> values in their order, by a GET each, sent together without MULTI.
        close: closes every connection.
        for_threads: how many -> a client for each thread; None: threads share this one.
    """

    get: Callable[[str], Any]
    set: Callable[[str, bytes], Any]
    mget: Callable[[Sequence[str]], Any]
    pipeline: Callable[[Sequence[str]], Any]
    close: Callable[[], Any]
    for_threads: Callable[[int], Sequence[PeerClient]] | None = None


@dataclass(frozen=True)
class Peer:
    """Somebody to measure.

    Attributes:
        what: one line for the report.
        connect: raises PeerMissingError where it cannot run; of an asyncio peer, a coroutine
            function.
        asyncio: whether its functions return awaitables.
    """

    what: str
    connect: Callable[[Servers], PeerClient | Awaitable[PeerClient]]
    asyncio: bool = False


def package(name: str, distribution: str) -> Any:
    """A package that may be missing.

    Raises:
        PeerMissingError: it is.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PeerMissingError(
            f"{distribution} is not installed ({error}); pip install 'cachemesh[bench]'"
        ) from error
