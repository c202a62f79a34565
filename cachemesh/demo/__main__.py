"""Runs the demo: ``python -m cachemesh.demo --help``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console

from cachemesh import CacheMesh
from cachemesh.core.errors import CacheMeshError
from cachemesh.demo.screen import Screen, keys_table, result_table, timeline_table
from cachemesh.demo.story import Story
from cachemesh.demo.timeline import Timeline
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from cachemesh.replay import (
    Replay,
    ReplayProgress,
    ReplayResult,
    ReplayWindow,
    Trace,
    TraceError,
    open_trace,
)
from cachemesh.replay.workload import zipf

LOAD_S = 22.0
THREADS = 4
OBJECTS = 20_000
ENDLESS = 10**9
VALUE_BYTES = 400
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

Workload = Callable[[int, int], Iterable[str]]


class Demo:
    """One run of the demo: a stack, a load, a story, a report.

    Args:
        console: where everything is shown.
        trace: what to replay; None: the built-in Zipf workload.
        keep: whether to leave the stack up, after the report, until interrupted.
        draw: the built-in workload, from the number of objects and of accesses.
    """

    def __init__(
        self, console: Console, trace: Trace | None, keep: bool, draw: Workload = zipf
    ) -> None:
        self._console = console
        self._screen = Screen(console)
        self._trace = trace
        self._keep = keep
        self._draw = draw
        self._windows: Sequence[ReplayWindow] = ()
        self._workload = ""

    def run(self) -> None:
        """Run the demo; no process is left when this returns or raises.

        Raises:
            CacheMeshError: the stack did not start, or something did not happen as planned.
        """
        stack = LocalStack(shards=3, replicas=1, sentinels=3)
        try:
            self._screen.line("Starting 3 shards (master + replica), 3 Sentinels, metaserver ...")
            stack.start()
            self._announce(stack)
            self._play(stack)
            if self._keep:
                self._stay(stack)
        finally:
            # A second Ctrl-C must not leave half of the processes running.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            stack.stop()

    def _announce(self, stack: LocalStack) -> None:
        info = stack.info
        self._screen.line(f"Dashboard:  {info['dashboard']}")
        self._screen.line(f"Log in with the token in {info['token_file']}")
        self._screen.line(f"The app's CACHEMESH_URL:  {info['url']}")
        self._screen.line("")

    def _play(self, stack: LocalStack) -> None:
        info = stack.info
        timeline = Timeline(self._screen.happening)
        metaserver = MetaserverClient(info["metaservers"], stack.token)
        story = Story(stack, metaserver, timeline)
        client = CacheMesh.from_url(info["url"], token_file=info["token_file"], snapshot_dir="off")
        try:
            client.ping()
            with self._screen.running():
                timeline.begin()
                timeline.add(f"load begins: {THREADS} threads read through the cache")
                story.start()
                result = self._load(client, story)
                timeline.add("load ends")
                story.join()
        finally:
            story.stop()
            client.close()
        status = metaserver.request("GET", f"/v1/pools/{info['pool']}/status")
        self._console.print()
        for table in (
            result_table(self._workload, result, self._windows),
            keys_table(status),
            timeline_table(timeline.in_order()),
        ):
            self._console.print(table)

    def _load(self, client: CacheMesh, story: Story) -> ReplayResult:
        trace = self._trace
        passes = None if trace is None else Passes(trace, story)
        keys: Iterable[str | bytes] = self._draw(OBJECTS, ENDLESS) if passes is None else passes
        replay = Replay(
            client,
            keys,
            threads=THREADS,
            total=None if trace is None else trace.operations,
            value_size=VALUE_BYTES,
            duration=LOAD_S if trace is None else None,
            on_progress=self._progressed,
        )
        result = replay.run()
        self._workload = f"Zipf over {OBJECTS:,} objects" if passes is None else str(passes)
        return result

    def _progressed(self, made: ReplayProgress) -> None:
        self._windows = tuple(made.windows)
        share = made.seconds / LOAD_S if made.total is None else made.operations / made.total
        self._screen.progress(made, share)

    def _stay(self, stack: LocalStack) -> None:
        self._screen.line("")
        self._screen.line("The stack stays up until Ctrl-C.")
        self._announce(stack)
        for name, value in stack.info["env"].items():
            self._screen.line(f"export {name}={value}")
        threading.Event().wait()


class Passes:
    """Yields a trace's accesses, again from its beginning until the story has ended.

    Attributes:
        made: how often the trace was begun.
    """

    def __init__(self, trace: Trace, story: Story) -> None:
        self._trace = trace
        self._story = story
        self.made = 0

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.made += 1
            yield from self._trace.keys()
            if self._story.ended or self._trace.path is None:
                return

    def __str__(self) -> str:
        if self.made == 1:
            return f"{self._trace.name}, once"
        return (
            f"{self._trace.name}, {self.made} times over: after the first, "
            "most keys are hits because the time before stored them"
        )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cachemesh.demo",
        description="A whole CacheMesh on this machine under load: a master is killed and a "
        "fourth shard is added while an app reads through the cache.",
    )
    parser.add_argument(
        "--trace", metavar="FILE", type=Path, help="replay this trace (default: a Zipf workload)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the stack up until Ctrl-C when done"
    )
    return parser.parse_args(arguments)


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None, draw: Workload = zipf) -> int:
    """Run the demo with command-line arguments (None: those of the process).

    Args:
        draw: as of `Demo`.

    Returns:
        The exit code: 0; 1 after an error, with a line on stderr; 130 after Ctrl-C.
    """
    options = _parse(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminated)
    # A shell ignores SIGINT for background jobs; with KEEP=1 it must still end the demo.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        trace = None if options.trace is None else open_trace(options.trace)
        Demo(Console(highlight=False), trace, options.keep, draw).run()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (CacheMeshError, TraceError) as error:
        print(f"demo: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_FAILED
    sys.stdout.flush()
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
