"""`cachemesh replay`: replays an app's accesses against a pool, by `cachemesh.replay`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import click
import redis
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.cli.output import console, duration, emit, percent, say, show_fields
from cachemesh.cli.param_types import Number
from cachemesh.cli.tables import show, table
from cachemesh.core.plurals import counted
from cachemesh.replay.errors import TraceError
from cachemesh.replay.reader import Format, open_trace
from cachemesh.replay.result import ReplayProgress, ReplayResult
from cachemesh.replay.runner import Replay
from cachemesh.sync.client import CacheMesh

_POSITIVE = Number(min=0.001)


@click.command()
@click.argument("file", metavar="FILE")
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="How many threads share the accesses and the client.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Stop after that many accesses.")
@click.option(
    "--duration", "seconds", type=_POSITIVE, metavar="SECONDS", help="Stop after that long."
)
@click.option(
    "--value-size",
    type=click.IntRange(0, 512 * 1024 * 1024),
    default=100,
    show_default=True,
    metavar="BYTES",
    help="Size of each value.",
)
@click.option("--ttl", type=_POSITIVE, metavar="SECONDS", help="Life of a value [for ever].")
@click.option("--key-prefix", default="", metavar="TEXT", help="What every key begins with.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["auto", "ids", "text"]),
    default="auto",
    show_default=True,
    help="ids: big-endian 32-bit integers; text: one key per line.",
)
@with_context
def replay(
    context: CommandContext,
    file: str,
    threads: int,
    limit: int | None,
    seconds: float | None,
    value_size: int,
    ttl: float | None,
    key_prefix: str,
    kind: Format,
) -> None:
    """Replay the accesses in FILE against a pool, cache-aside: GET, and on a miss SET.

    FILE holds 32-bit object ids or one key per line, plain or compressed by xz or gzip; "-" is
    standard input. Ctrl-C prints what was found so far.
    """
    if file == "-" and sys.stdin.isatty():
        raise click.UsageError("FILE '-' is standard input, and that is a terminal.")
    trace = open_trace(file, kind)
    keys = trace.keys(limit, key_prefix.encode("utf-8", "surrogateescape"))
    total = trace.operations
    if total is not None and limit is not None:
        total = min(total, limit)
    with context.client() as client, _progress(total) as on_progress:
        client.dbsize_per_shard()  # raises if no shard can be reached
        run = Replay(
            client,
            keys,
            threads=threads,
            total=total,
            value_size=value_size,
            ttl=ttl,
            duration=seconds,
            on_progress=on_progress,
        )
        trouble: BaseException | None = None
        try:
            result = run.run()
        except (KeyboardInterrupt, TraceError) as error:
            result, trouble = run.result(), error
        result = replace(result, keys_per_shard=_keys_per_shard(client))
    emit(context.output, result.to_dict(), lambda: _show(result, context.wide))
    if trouble is not None:
        raise trouble
    _check(result)


def _check(result: ReplayResult) -> None:
    if result.wrong:
        raise CommandError(
            "replay",
            f"{counted(result.wrong, 'hit')} had a value that this replay did not store there",
            "if the pool is in use, keep apart from its keys with --key-prefix; "
            "otherwise a shard gives wrong answers",
        )
    if result.operations and result.errors == result.operations:
        raise CommandError(
            "replay",
            f"all of {counted(result.errors, 'operation')} failed",
            "see: cachemesh pool status",
            ExitCode.UNREACHABLE,
        )


def _keys_per_shard(client: CacheMesh) -> dict[str, int] | None:
    try:
        return client.dbsize_per_shard()
    except redis.RedisError as error:
        say(f"warning: keys per shard are not known: {error}")
        return None


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[ReplayProgress], None] | None]:
    """Show a progress bar on stderr, if that is a terminal; yield what updates it."""
    screen = console(err=True)
    if not screen.is_terminal:
        yield None
        return
    columns: list[Any] = [BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(
        *columns, TextColumn("{task.description}"), console=screen, transient=True
    ) as bar:
        task = bar.add_task("", total=total)

        def update(progress: ReplayProgress) -> None:
            lately = progress.windows[-1] if progress.windows else progress
            text = (
                f"{lately.operations_per_second:,.0f}/s  hits {percent(progress.hit_ratio)}"
                f"  errors {progress.errors:,}"
            )
            bar.update(task, completed=progress.operations, description=text)

        yield update


def _show(result: ReplayResult, wide: bool) -> None:
    latency, get = result.latency, result.get_latency
    fields: list[tuple[str, object]] = [
        ("complete", result.complete),
        ("operations", result.operations),
        ("hits", result.hits),
        ("misses", result.misses),
        ("hit ratio", percent(result.hit_ratio)),
        ("errors", _errors(result)),
        ("wrong values", result.wrong),
        ("time", duration(result.seconds)),
        ("operations/s", f"{result.operations_per_second:,.0f}"),
        ("operation p50/p99/p99.9", _us(latency.p50_us, latency.p99_us, latency.p999_us)),
        ("GET p50/p99/p99.9", _us(get.p50_us, get.p99_us, get.p999_us)),
    ]
    show_fields(fields)
    if result.errors_by_class:
        click.echo()
        rows = [
            [name, count, result.error_examples[name]]
            for name, count in result.errors_by_class.items()
        ]
        show(table(["error", "operations>", "first message"], rows), wide=wide)
    if result.keys_per_shard:
        total = sum(result.keys_per_shard.values())
        click.echo()
        shards = [
            [name, keys, percent(keys / total if total else None)]
            for name, keys in result.keys_per_shard.items()
        ]
        show(table(["shard", "keys>", "share>"], shards), wide=wide)


def _errors(result: ReplayResult) -> str:
    window = result.error_window
    if window is None:
        return "0"
    return (
        f"{counted(result.errors, 'operation')} failed, "
        f"over {duration(window.last_s - window.first_s)} "
        f"({window.first_s:.1f} s to {window.last_s:.1f} s), "
        f"at most {duration(window.longest_s)} on end"
    )


def _us(*quantiles: float | None) -> str:
    return " / ".join("-" if value is None else f"{value:,.0f}" for value in quantiles) + " us"
