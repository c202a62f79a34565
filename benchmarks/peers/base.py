"""What every peer has: how it connects, and the functions that workloads call."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.servers import Servers

RESP = 3
"""The RESP version of all peers that can speak it."""


class PeerMissingError(Exception):
    """A peer cannot run here; the message says what is missing and how to get it."""


@dataclass(frozen=True)
class PeerClient:
    """The functions of a connected peer, where possible its own, without a wrapper.

    The functions of an asyncio peer return awaitables. Values are bytes.

    Attributes:
        get: returns the value of a key, or None.
        set: stores a value under a key.
        mget: returns the values of keys, in their order.
        pipeline: returns the values of keys, in their order, by GETs sent together without MULTI.
        close: closes every connection.
        for_threads: makes a client for each of so many threads; None: threads share this one.
    """

    get: Callable[[str], Any]
    set: Callable[[str, bytes], Any]
    mget: Callable[[Sequence[str]], Any]
    pipeline: Callable[[Sequence[str]], Any]
    close: Callable[[], Any]
    for_threads: Callable[[int], Sequence[PeerClient]] | None = None


@dataclass(frozen=True)
class Peer:
    """A client to measure.

    Attributes:
        what: one line for the report.
        connect: connects to the servers, or raises PeerMissingError where the peer cannot run; of
            an asyncio peer, a coroutine function.
        asyncio: whether its functions return awaitables.
    """

    what: str
    connect: Callable[[Servers], PeerClient | Awaitable[PeerClient]]
    asyncio: bool = False


def package(name: str, distribution: str) -> Any:
    """Import a package that may be missing.

    Raises:
        PeerMissingError: the package is missing.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PeerMissingError(
            f"{distribution} is not installed ({error}); pip install 'cachemesh[bench]'"
        ) from error
