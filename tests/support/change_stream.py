"""A stream of changes to one pool, and a check of each against the audit log."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import Any

from typing_extensions import Self

from cachemesh.core.errors import MetaserverError, MetaserverUnavailableError
from cachemesh.discovery.metaserver import MetaserverClient
from tests.support.waiting import AT_MOST, until

_PATH = "/v1/pools/cache/settings"
_PACE = 0.1  # seconds between two changes of a writer


@dataclass
class Told:
    """What one writer was told of its changes, by the value that each sets.

    Attributes:
        made: value -> the version that the change made.
        refused: of changes that were not made, as another one was faster.
        failed: value -> why it is not known what became of the change.
    """

    made: dict[float, int] = field(default_factory=dict)
    refused: set[float] = field(default_factory=set)
    failed: dict[float, str] = field(default_factory=dict)


class ChangeStream:
    """Writers that change a setting of the pool "cache", each to values of its own.

    Args:
        metaservers: addresses, in another order for each writer.
        refusals: error codes of refusals that are no failure.
    """

    def __init__(
        self,
        metaservers: Sequence[str],
        token: str,
        writers: int = 2,
        refusals: Sequence[str] = (),
    ) -> None:
        self._token = token
        self._refusals = refusals
        self._metaservers = list(metaservers)
        self._stop = threading.Event()
        self.told = [Told() for _ in range(writers)]
        self._events: list[dict[str, Any]] = []  # the audit log from here on, oldest first
        newest = self._ask_events({"limit": 1})
        self._last = newest[0]["id"] if newest else 0
        self._threads = ThreadPoolExecutor(writers)
        self._running = [self._threads.submit(self._write, number) for number in range(writers)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._threads.shutdown()
        for running in self._running:
            running.result()

    @property
    def refused(self) -> int:
        """How many changes were told as not made."""
        return sum(len(told.refused) for told in self.told)

    @property
    def made(self) -> int:
        """How many changes were told as made."""
        return sum(len(told.made) for told in self.told)

    def go_on(self, changes: int = 3) -> None:
        """Wait until so many changes more of each writer are made; read the audit log on."""
        self._read_on()
        wanted = [len(told.made) + changes for told in self.told]

        def there() -> bool:
            self._check_answers()
            if any(running.done() for running in self._running):
                return True  # with an exception, which the end of the block raises
            return all(len(t.made) >= want for t, want in zip(self.told, wanted, strict=True))

        until(there)

    def _read_on(self) -> None:
        found = self._ask_events({"after": self._last, "limit": 1000})
        if found:
            assert found[-1]["id"] == self._last + 1, "a page does not hold all that is new"
            self._last = found[0]["id"]
            self._events += reversed(found)

    def _ask_events(self, query: dict[str, int]) -> list[dict[str, Any]]:
        client = MetaserverClient(self._metaservers, self._token, timeout=AT_MOST / 4)
        found: list[dict[str, Any]] = client.request("GET", "/v1/events", query=query)["events"]
        return found

    def _write(self, number: int) -> None:
        order = self._metaservers[number:] + self._metaservers[:number]
        client = MetaserverClient(order, self._token, timeout=AT_MOST / 4)
        told = self.told[number]
        step = 0
        while not self._stop.wait(_PACE):
            step += 1
            value = 1.0 + (step * len(self.told) + number) / 1024  # exact, and far below the limit
            body = {"settings": {"poll_interval": value}}
            try:
                told.made[value] = client.request("PATCH", _PATH, body)["version_after"]
            except MetaserverError as error:
                if error.code not in ("version-conflict", *self._refusals):
                    told.failed[value] = str(error)
                told.refused.add(value)
            except MetaserverUnavailableError as error:
                told.failed[value] = str(error)

    def check(self) -> None:
        """Assert that everything was told truly, and made once. For after the block."""
        self._read_on()
        changes = [event for event in self._events if event["action"] == "pool.settings"]
        logged = [change["after"]["poll_interval"] for change in changes]
        counts = Counter(logged)
        made = {value: version for told in self.told for value, version in told.made.items()}
        assert {value for value, count in counts.items() if count > 1} == set(), "made twice"
        assert set(made) - set(counts) == set(), "told as made, and lost"
        refused = {value for told in self.told for value in told.refused}
        assert refused & set(counts) == set(), "told as not made, and made"
        assert len(set(made.values())) == len(made), "two changes of one version"
        places = {made[value] - place for place, value in enumerate(logged) if value in made}
        assert len(places) <= 1, "a version rose without a change, or fell"
        for change, later in pairwise(changes):
            assert later["before"] == change["after"], "a change was made on what was there before"
        self._check_answers()

    def _check_answers(self) -> None:
        failed = {value: why for told in self.told for value, why in list(told.failed.items())}
        assert not failed, failed
