"""`Replay`: threads that take accesses from one iterator and make them through one client.

The replay measures the client, so its own loop takes only about a microsecond per access: each
thread counts for itself, and the totals are summed only when they are needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from itertools import islice
from math import log
from time import perf_counter, perf_counter_ns

import redis

from cachemesh.replay.error_log import ErrorLog
from cachemesh.replay.histogram import BUCKETS, SCALE, merged
from cachemesh.replay.result import Counts, Latency, ReplayProgress, ReplayResult, ReplayWindow

Key = str | bytes

_BATCH = 16
_LAST = BUCKETS - 1


def value_of(key: bytes, size: int) -> bytes:
    """Return the value of a key: the key, a line end, and filling up to ``size`` bytes.

    The value names its key, so that a hit with another key's value is noticed.
    """
    return (key + b"\n").ljust(size, b".")


class _Tally:
    """The counts of one thread; only that thread changes them."""

    def __init__(self) -> None:
        self.operations = self.hits = self.misses = self.wrong = 0
        self.max_ns = 0
        self.gets = [0] * BUCKETS
        self.whole = [0] * BUCKETS


class Replay:
    """One run of accesses, cache-aside: GET, and on a miss SET.

    A ``redis.RedisError`` is counted and the run goes on, as an app goes on with its database.
    Threads take the accesses in order, a few at a time.

    Args:
        client: a `CacheMesh` or any other ``redis.Redis``; the threads share it.
        keys: the accesses; one thread at a time reads from it.
        threads: how many threads make accesses.
        total: the number of accesses if known, for the progress callback.
        value_size: bytes of each value; a key longer than that makes its value longer.
        ttl: seconds until a value expires, None for never.
        duration: seconds after which to stop; None: stop at the end of the accesses.
        on_progress: called by `run` every ``interval`` seconds and once at the end.
        interval: seconds between two calls of ``on_progress``.

    Raises:
        ValueError: an argument is below its least value.
    """

    def __init__(
        self,
        client: redis.Redis,
        keys: Iterable[Key],
        *,
        threads: int = 1,
        total: int | None = None,
        value_size: int = 100,
        ttl: float | None = None,
        duration: float | None = None,
        on_progress: Callable[[ReplayProgress], None] | None = None,
        interval: float = 0.1,
    ) -> None:
        if threads < 1 or value_size < 0 or interval <= 0:
            raise ValueError("threads must be at least 1, value_size at least 0, interval above 0")
        if (ttl is not None and ttl < 0.001) or (duration is not None and duration <= 0):
            raise ValueError("ttl must be at least 0.001 seconds, duration above 0")
        self._client = client
        self._keys = iter(keys)
        self._keys_lock = threading.Lock()
        self._total = total
        self._value_size = value_size
        self._px = None if ttl is None else round(ttl * 1000)
        self._duration = duration
        self._on_progress = on_progress
        self._interval = interval
        self._tallies = [_Tally() for _ in range(threads)]
        self._errors = ErrorLog()
        self._windows: list[ReplayWindow] = []
        self._window_start = 0.0
        self._window_counts = self._counts()
        self._started = self._ended = 0.0
        self._stopping = False

    def run(self) -> ReplayResult:
        """Make all accesses and return the result.

        An interruption (Ctrl-C, a damaged trace, an exception of the callback) stops the threads
        before it is raised; then `result` returns what was done so far.
        """
        self._started = perf_counter()
        executor = ThreadPoolExecutor(len(self._tallies), "replay")
        try:
            futures = [executor.submit(self._work, tally) for tally in self._tallies]
            finished = self._oversee(futures)
        finally:
            self._stopping = True
            executor.shutdown()
            self._ended = perf_counter()
        for future in futures:
            future.result()
        self._report()
        return self.result(complete=finished)

    def stop(self) -> None:
        """Make `run` return soon, with the result so far; any thread may call this."""
        self._stopping = True

    def result(self, complete: bool = False) -> ReplayResult:
        """Return the result so far.

        Args:
            complete: the value of the result's ``complete``.
        """
        counts = self._counts()
        slowest = max(tally.max_ns for tally in self._tallies)
        return ReplayResult(
            complete=complete,
            operations=counts.operations,
            hits=counts.hits,
            misses=counts.misses,
            errors=counts.errors,
            wrong=counts.wrong,
            errors_by_class=self._errors.by_class(),
            error_examples=self._errors.examples(),
            error_window=self._errors.window(),
            seconds=self._elapsed(),
            latency=Latency.of(counts.whole),
            get_latency=Latency.of(counts.gets),
            max_us=round(slowest / 1000, 1) if slowest else None,
        )

    def progress(self) -> ReplayProgress:
        """Return the state of the running replay; complete its current window after a second."""
        counts = self._counts()
        now = self._elapsed()
        if now - self._window_start >= 1.0:
            gained = counts.since(self._window_counts)
            self._windows.append(
                ReplayWindow.of(self._window_start, now - self._window_start, gained)
            )
            self._window_start, self._window_counts = now, counts
        return ReplayProgress(
            seconds=now,
            operations=counts.operations,
            hits=counts.hits,
            misses=counts.misses,
            errors=counts.errors,
            wrong=counts.wrong,
            total=self._total,
            windows=self._windows,
        )

    def _oversee(self, futures: list[Future[None]]) -> bool:
        """Wait for all threads and report progress; return whether the replay is complete."""
        while True:
            done, running = wait(futures, self._interval, FIRST_EXCEPTION)
            if not running or any(future.exception() for future in done):
                return not self._stopping
            self._report()
            if self._duration is not None and self._elapsed() >= self._duration:
                return True

    def _report(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self.progress())

    def _elapsed(self) -> float:
        return (self._ended or perf_counter()) - self._started if self._started else 0.0

    def _counts(self) -> Counts:
        tallies = self._tallies
        return Counts(
            operations=sum(tally.operations for tally in tallies),
            hits=sum(tally.hits for tally in tallies),
            misses=sum(tally.misses for tally in tallies),
            errors=self._errors.total,
            wrong=sum(tally.wrong for tally in tallies),
            gets=merged(tally.gets for tally in tallies),
            whole=merged(tally.whole for tally in tallies),
        )

    def _next_batch(self) -> list[Key]:
        with self._keys_lock:
            return list(islice(self._keys, _BATCH))

    def _work(self, tally: _Tally) -> None:
        while batch := self._next_batch():
            for key in batch:
                if self._stopping:
                    return
                self._access(key, tally)

    def _access(self, key: Key, tally: _Tally) -> None:
        start = perf_counter_ns()
        try:
            value = self._client.get(key)
            taken = perf_counter_ns() - start
            tally.gets[min(int(log(taken) * SCALE), _LAST)] += 1
            if value is None:
                tally.misses += 1
                self._client.set(key, value_of(_raw(key), self._value_size), px=self._px)
                taken = perf_counter_ns() - start
            else:
                tally.hits += 1
                if not _raw(value).startswith(_raw(key) + b"\n"):
                    tally.wrong += 1
        except redis.RedisError as error:
            taken = perf_counter_ns() - start
            ended = self._elapsed()
            self._errors.record(error, ended - taken / 1e9, ended)
        tally.operations += 1
        tally.whole[min(int(log(taken) * SCALE), _LAST)] += 1
        if taken > tally.max_ns:
            tally.max_ns = taken


def _raw(text: Key) -> bytes:
    return text.encode() if isinstance(text, str) else text
