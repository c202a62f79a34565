"""One writer: its commands, and its judgement of the replies.

A writer is a generator of calls, so that threads and tasks can run the same one (see load.py). Its
keys are its own and all on one shard:

    {tag}:17      written once, with sequence 17; sometimes read again later
    {tag}:last    written over and over; must never read older than what was acknowledged
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from benchmarks.failover.values import claim_of, value_of

_EXAMPLES = 5
_LATEST = 1000  # keys that are read again


class Call(NamedTuple):
    """A command for the driver to send; the driver returns its reply or raises its error."""

    words: tuple[str, ...]


class Acknowledged(NamedTuple):
    """A write that was acknowledged; times are in monotonic seconds."""

    sequence: int
    started: float
    ended: float


class Failed(NamedTuple):
    """A call that raised."""

    what: str
    started: float
    ended: float


@dataclass
class Writer:
    """Sends writes and reads to one shard and records the replies.

    Attributes:
        name: of the writer.
        shard: of its keys.
        tag: hash tag of its keys.
        acknowledged: writes of fresh keys that were answered by OK.
        failures: calls that raised.
        dropped: how many writes had another reply than OK.
        missed: how many reads had no value where one had been acknowledged.
        stale: how many reads had an older value than one acknowledged.
        wrong: how many replies belong to another key or writer.
        last: highest acknowledged sequence of the rolling key; 0: none yet.
        examples: descriptions of the first wrong replies.
        crash: an exception that is no error of a client.
    """

    name: str
    shard: str
    tag: str
    acknowledged: list[Acknowledged] = field(default_factory=list)
    failures: list[Failed] = field(default_factory=list)
    dropped: int = 0
    missed: int = 0
    stale: int = 0
    wrong: int = 0
    last: int = 0
    examples: list[str] = field(default_factory=list)
    crash: BaseException | None = None

    @property
    def rolling(self) -> str:
        """The key that is written over and over."""
        return f"{{{self.tag}}}:last"

    def key(self, sequence: int) -> str:
        """Return the key that is written once, with this sequence number."""
        return f"{{{self.tag}}}:{sequence}"

    @property
    def errors(self) -> Counter[str]:
        """The number of failures, by exception."""
        return Counter(failure.what for failure in self.failures)

    def steps(self, stopped: Callable[[], bool], seed: int) -> Generator[Call | None, Any, None]:
        """Yield the calls to make until ``stopped()``; None stands for a pause."""
        dice = random.Random(seed)
        sequence = 0
        while not stopped():
            sequence += 1
            if (yield from self._write(self.key(sequence), sequence)):
                self.acknowledged.append(self._latest)
            if sequence % 4 == 0:
                if (yield from self._write(self.rolling, sequence)):
                    self.last = sequence
                yield from self._read_rolling()
                yield from self._read_again(dice)
            yield None

    def _write(self, key: str, sequence: int) -> Generator[Call | None, Any, bool]:
        reply, started, ended = yield from self._call(
            "SET", key, value_of(key, self.name, sequence)
        )
        self._latest = Acknowledged(sequence, started, ended)
        if isinstance(reply, Exception):
            return False
        done = reply in (True, b"OK", "OK")
        self.dropped += not done
        return done

    def _read_rolling(self) -> Generator[Call | None, Any, None]:
        reply, _, _ = yield from self._call("GET", self.rolling)
        self._judge(self.rolling, self.last, reply)

    def _read_again(self, dice: random.Random) -> Generator[Call | None, Any, None]:
        if self.acknowledged:
            latest = self.acknowledged[-_LATEST:]
            sequence = dice.choice(latest).sequence
            reply, _, _ = yield from self._call("GET", self.key(sequence))
            self._judge(self.key(sequence), sequence, reply)

    def _judge(self, key: str, least: int, reply: Any) -> None:
        if isinstance(reply, Exception):
            return
        if reply is None:
            if least:
                self.missed += 1
                self._note(f"{key} is gone, acknowledged was {least}")
            return
        try:
            claim = claim_of(reply)
        except (ValueError, AttributeError):
            claim = None
        if claim is None or (claim.key, claim.writer) != (key, self.name):
            self.wrong += 1
            self._note(f"{key} answered {reply!r:.100}")
        elif claim.sequence < least:
            self.stale += 1
            self._note(f"{key} is {claim.sequence}, acknowledged was {least}")

    def _note(self, example: str) -> None:
        if len(self.examples) < _EXAMPLES:
            self.examples.append(example)

    def _call(self, *words: str) -> Generator[Call | None, Any, tuple[Any, float, float]]:
        started = time.monotonic()
        reply = yield Call(words)
        ended = time.monotonic()
        if isinstance(reply, Exception):
            self.failures.append(Failed(type(reply).__name__, started, ended))
        return reply, started, ended
