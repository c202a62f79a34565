"""A pool as an operator resizes it: a spare shard is added and removed, again and again."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Any

from cachemesh.core.errors import MetaserverError, MetaserverUnavailableError
from cachemesh.core.placement import Placement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from metaserver.domain.resize import FIELD
from tests.support.placement_history import PlacementHistory
from tests.support.plain_redis import direct
from tests.support.waiting import AT_MOST, until

POOL = "/v1/pools/cache"
SPARE = "spare"
_NOT_YET = (
    "resize-in-progress",  # a shard is swept still
    "version-conflict",  # a fence was lifted just now
    "shard-exists",  # the Sentinels are still told that it is removed
    "sentinel-failed",  # a busy one did not answer in time
)


def port_of(address: str) -> int:
    """Return the port of "host:port"."""
    return int(address.rpartition(":")[2])


class ResizedPool:
    """The pool of a stack, with one more shard that comes and goes.

    Attributes:
        api: requests to its metaservers.
        token: for them.
        history: which shard owned a key when.
        done: how many resizes are done.
        took: seconds of each, from the request on.
        refused: how often a change could not be made yet, by error code.
        actions: how often each action is in the audit log.
        events: the audit log, oldest first.
    """

    def __init__(self, stack: LocalStack) -> None:
        self.api = MetaserverClient(stack.info["metaservers"], stack.token, timeout=AT_MOST / 4)
        self.token = stack.token
        self._sentinels: list[str] = stack.info["sentinels"]
        self.spare = str(stack.start_redis().address)
        document = self.document()
        shards = {port_of(stack.master_of(each)): each for each in document.placement.names}
        shards[port_of(self.spare)] = SPARE
        self.history = PlacementHistory(document.placement, shards)
        self.took: list[float] = []
        self.refused = Counter[str]()
        self.actions = Counter[str]()
        self.events: list[dict[str, Any]] = []
        self._last_event = 0
        self.read_events()

    @property
    def done(self) -> int:
        """How many resizes are done."""
        return len(self.took)

    def document(self) -> PoolDocument:
        """Return the document of now."""
        return PoolDocument.from_dict(self.api.request("GET", POOL))

    def status(self) -> Any:
        """Return the status of now."""
        return self.api.request("GET", f"{POOL}/status")

    def resize(self) -> None:
        """Add the spare shard, or remove it if it is there, and wait until that is done."""
        before = self.history.placements[-1]
        began = self.begin()
        assert self.settle().names != before.names
        self.took.append(time.monotonic() - began)
        sys.stderr.write(f"\rresize {self.done}: {self.took[-1]:.2f} s ")

    def next_change(self) -> tuple[str, str, Any]:
        """Return the request that adds the spare shard, or removes it if it is there."""
        if SPARE in self.history.placements[-1].names:
            return "DELETE", f"{POOL}/shards/{SPARE}?strategy=drop", None
        body = {"name": SPARE, "master": self.spare, "strategy": "drop"}
        return "POST", f"{POOL}/shards", body

    def begin(self) -> float:
        """Have the resize begun, as soon as that is allowed; return when, in monotonic seconds."""

        def asked() -> float | None:
            began = time.monotonic()
            try:
                self.api.request(*self.next_change())
            except MetaserverError as error:
                if error.code not in _NOT_YET and "did not answer within" not in str(error):
                    raise
                self.refused[error.code] += 1
            except MetaserverUnavailableError:  # in time, so nobody knows
                self.refused["no answer"] += 1
            else:
                return began
            now = self.document()
            begun = FIELD in now.extra or now.placement.names != self.history.placements[-1].names
            return began if begun else None

        found: float = until(asked)
        return found

    def settle(self) -> Placement:
        """Wait until no resize is under way, and note one that is done; return the placement."""

        def settled() -> PoolDocument | None:
            found = self.document()
            return None if FIELD in found.extra else found

        placement: Placement = until(settled).placement
        done = [event for event in self.read_events() if event["action"] == "resize.done"]
        assert len(done) == (placement.names != self.history.placements[-1].names), done
        if done:
            self.history.add(done[0]["at"], placement)
        return placement

    def look_again(self) -> None:
        """Begin anew with what the store has, as it was replaced."""
        self._last_event = 0
        until(lambda: FIELD not in self.document().extra)
        done = [event for event in self.read_events() if event["action"] == "resize.done"]
        placement = self.document().placement
        if placement.names != self.history.placements[-1].names:
            self.history.add(done[-1]["at"], placement)
            if SPARE not in placement.names:
                self._forget_spare()

    def _forget_spare(self) -> None:
        """Do what an operator is told to do before a shard can be added that no pool has."""
        with direct(self.spare) as client:
            client.flushall()
        for address in self._sentinels:
            with direct(address) as sentinel:
                if SPARE in sentinel.sentinel_masters():
                    sentinel.sentinel_remove(SPARE)

    def read_events(self) -> list[dict[str, Any]]:
        """Read the audit log on, and return what is new in it, oldest first."""
        query = {"after": self._last_event, "limit": 1000}
        new: list[dict[str, Any]] = self.api.request("GET", "/v1/events", query=query)["events"]
        if new:
            assert not self._last_event or new[-1]["id"] == self._last_event + 1
            self._last_event = new[0]["id"]
        self.actions.update(event["action"] for event in new)
        self.events += reversed(new)
        return new[::-1]

    def __str__(self) -> str:
        """Return the figures as a line for the log."""
        took = sorted(self.took) or [0.0]
        named = ("resize.done", "resize.prepare", "resize.step-back", "resize.fenced")
        counts = ", ".join(f"{self.actions[name]} {name}" for name in named)
        counts += f", put off {dict(self.refused)}"
        return f"{counts}; {took[len(took) // 2]:.2f} s in the median, {took[-1]:.2f} s at most"
