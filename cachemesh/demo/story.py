"""What happens to the stack while the load runs: a master is killed, a shard is added."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from cachemesh.core.errors import CacheMeshError, LocalStackError
from cachemesh.demo.timeline import Timeline
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack

KILL_AT_S = 5.0
ADD_AT_S = 12.0
RESTART_AT_S = 15.0
HAPPENS_WITHIN_S = 60.0  # Sentinels that did not agree on a failover try again after 20 s
VICTIM = "cache-1"
NEWCOMER = "cache-3"
_POLL_INTERVAL_S = 0.05


class StoryStoppedError(CacheMeshError):
    """The demo was stopped before the end of its story."""


class Story:
    """Makes everything happen, in order, on a thread of its own.

    Args:
        stack: the running stack, with the pool ``cache``.
        metaserver: a client with the admin token.
        timeline: gets a line for everything that happens.
    """

    def __init__(self, stack: LocalStack, metaserver: MetaserverClient, timeline: Timeline) -> None:
        self._stack = stack
        self._metaserver = metaserver
        self._timeline = timeline
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._error: CacheMeshError | None = None
        self._thread = threading.Thread(target=self._run, name="story")

    @property
    def ended(self) -> bool:
        """Whether everything has happened, or something failed."""
        return self._ended.is_set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Let nothing more happen, and wait for the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def join(self) -> None:
        """Wait for the end. Raises CacheMeshError if something did not happen as planned."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._tell()
        except CacheMeshError as error:
            self._error = error
        finally:
            self._ended.set()

    def _tell(self) -> None:
        before = self._last_event()
        pair = self._stack.start_pair(NEWCOMER)
        self._until(KILL_AT_S)
        killed = self._kill_master()
        self._until(ADD_AT_S)
        version = self._add_shard(pair)
        self._await(f"the sweep after adding {NEWCOMER}", lambda: self._swept(version))
        self._note_sweeps(before)
        self._until(RESTART_AT_S)
        self._stack.process(killed).restart()
        self._timeline.add(f"{killed} is back and becomes {VICTIM}'s replica")

    def _kill_master(self) -> str:
        master = self._stack.master_of(VICTIM)
        self._stack.process(master).kill(signal.SIGKILL)
        self._timeline.add(f"killed {VICTIM}'s master {master} (SIGKILL)")
        self._await(f"the promotion of {VICTIM}'s replica", lambda: self._promoted(master))
        self._timeline.add(f"Sentinel promoted {VICTIM}'s replica {self._stack.master_of(VICTIM)}")
        return master

    def _promoted(self, old: str) -> bool:
        try:
            return self._stack.master_of(VICTIM) != old
        except LocalStackError:
            return False  # a Sentinel may not answer in the middle of a failover

    def _add_shard(self, pair: dict[str, Any]) -> int:
        pool = self._stack.info["pool"]
        change = self._metaserver.request(
            "POST",
            f"/v1/pools/{pool}/shards",
            {"name": NEWCOMER, "master": pair["master"]},
            timeout=HAPPENS_WITHIN_S,
        )
        self._timeline.add(
            f"added {NEWCOMER} ({pair['master']}) through the metaserver: "
            f"{change['moved_slots']:,} slots ({change['moved_share']:.0%}) move to it"
        )
        return int(change["version_after"])

    def _swept(self, version: int) -> bool:
        pool = self._stack.info["pool"]
        status = self._metaserver.request("GET", f"/v1/pools/{pool}/status")
        # The status may be older than the change, and then has no sweeps either.
        return bool(status["version"] >= version and not status["sweeps"])

    def _last_event(self) -> int:
        events = self._events(limit=1)
        return int(events[0]["id"]) if events else 0

    def _note_sweeps(self, before: int) -> None:
        for event in self._events(after=before):
            if event["action"].startswith("sweep."):
                at = self._timeline.seconds_of(event["at"])
                self._timeline.add(f"{event['target']}: {event['detail']}", at)

    def _events(self, **query: int) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = self._metaserver.request(
            "GET", "/v1/events", query={"pool": self._stack.info["pool"], **query}
        )["events"]
        return events

    def _until(self, at: float) -> None:
        if self._stopping.wait(max(0.0, at - self._timeline.now())):
            raise StoryStoppedError("the demo was stopped")

    def _await(self, what: str, happened: Callable[[], bool]) -> None:
        deadline = monotonic() + HAPPENS_WITHIN_S
        while not happened():
            if self._stopping.wait(_POLL_INTERVAL_S):
                raise StoryStoppedError("the demo was stopped")
            if monotonic() > deadline:
                raise LocalStackError(
                    f"{what} did not come within {HAPPENS_WITHIN_S:g} s; the logs are in "
                    f"{self._stack.directory}; run with KEEP=1 to look at them"
                )
