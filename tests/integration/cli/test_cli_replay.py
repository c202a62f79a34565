"""Replays against real Redis: exact counts, failures, interruption, and how they look."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh import CacheMesh
from cachemesh.cli import main as cli
from cachemesh.local import LocalStack
from cachemesh.replay import Replay, ReplayProgress, TraceError, open_trace
from cachemesh.replay.workload import zipf
from tests.support.process_cleanup import ending
from tests.support.sentinels import keep_masters
from tests.support.waiting import AT_MOST, in_time, until

REPOSITORY = Path(__file__).resolve().parents[3]
WEB12 = REPOSITORY.parent / "shared" / "traces" / "web12.trace.xz"
COMMAND = [sys.executable, "-m", "cachemesh_command"]


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=4, replicas=1, metaservers=0, dashboard=False) as started:
        keep_masters(started)
        yield started


@pytest.fixture
def pool(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[CacheMesh]:
    """A client of the empty pool, whose URL the command finds in its environment too."""
    for name, value in stack.info["env"].items():
        monkeypatch.setenv(name, value)
    with CacheMesh.from_url(stack.info["url"]) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="module")
def plain(stack: LocalStack) -> Iterator[redis.Redis]:
    """A redis-server on its own."""
    address = stack.start_redis().address
    with redis.Redis(host=address.host, port=address.port) as client:
        yield client


def replayed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code = cli.run(["replay", *arguments, "-o", "json"])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    result: dict[str, Any] = json.loads(captured.out)
    return result


def test_a_real_trace_to_the_last_hit(pool: CacheMesh, capsys: pytest.CaptureFixture[str]) -> None:
    if not WEB12.exists():
        pytest.skip(f"{WEB12} is missing: the traces are not part of the project")
    result = replayed(capsys, str(WEB12), "--limit", "20000")
    counts = {name: result[name] for name in ("operations", "hits", "misses", "errors", "wrong")}
    assert counts == {
        "operations": 20_000,
        "hits": 13_624,
        "misses": 6_376,
        "errors": 0,
        "wrong": 0,
    }
    keys = result["keys_per_shard"]
    assert sum(keys.values()) == 6_376 == pool.dbsize()
    assert all(abs(count - 6_376 / 4) < 0.1 * 6_376 / 4 for count in keys.values())
    assert 0 < result["p50_us"] <= result["p99_us"] <= result["p999_us"] <= result["max_us"] * 1.01
    assert result["complete"] and result["error_window"] is None


def test_options(pool: CacheMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "keys.txt"
    trace.write_text("a\nb\na\nc\na\n")
    options = ["--value-size", "500", "--ttl", "100", "--key-prefix", "p:", "--limit", "3"]
    result = replayed(capsys, str(trace), *options)
    assert (result["operations"], result["hits"], result["misses"]) == (3, 1, 2)
    assert sorted(pool.keys()) == [b"p:a", b"p:b"]
    value: Any = pool.get("p:a")
    assert value.startswith(b"p:a\n") and len(value) == 500
    assert 90 < pool.ttl("p:a") <= 100
    assert replayed(capsys, str(trace), "--key-prefix", "p:")["misses"] == 1


def test_threads_share_the_accesses(pool: CacheMesh) -> None:
    accesses = list(zipf(500, 8_000, seed=5))
    result = Replay(pool, accesses, threads=8).run()
    assert result.operations == result.hits + result.misses == 8_000
    assert len(set(accesses)) <= result.misses < len(set(accesses)) + 8 * 20
    assert pool.dbsize() == len(set(accesses))
    assert result.complete


def test_any_redis_client_will_do(plain: redis.Redis) -> None:
    plain.flushall()
    result = Replay(plain, zipf(100, 5_000, seed=2)).run()
    assert (result.operations, result.misses) == (5_000, plain.dbsize())
    where = plain.get_connection_kwargs()
    with redis.Redis(where["host"], where["port"], decode_responses=True) as decoding:
        again = Replay(decoding, zipf(100, 5_000, seed=2)).run()
    assert (again.hits, again.wrong) == (5_000, 0)


def test_a_value_of_somebody_else_is_noticed(
    pool: CacheMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "keys.txt"
    trace.write_text("a\nb\n")
    pool.set("a", b"b\n.....")
    assert cli.run(["replay", str(trace), "-o", "json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["wrong"] == 1
    assert "error: replay: 1 hit had a value" in captured.err
    assert pool.get("a") == b"b\n....."


def test_failures_are_counted_and_the_run_goes_on(plain: redis.Redis) -> None:
    plain.flushall()
    plain.set("x:7", b"x:7\n")
    plain.rpush("list", 1)
    accesses = ["x:7", "list", "list", "x:7"]
    result = Replay(plain, accesses).run()
    assert (result.operations, result.hits, result.misses, result.errors) == (4, 2, 0, 2)
    assert result.errors_by_class == {"ResponseError": 2}
    assert "WRONGTYPE" in result.error_examples["ResponseError"]
    assert result.error_window is not None


def test_a_master_killed_on_the_way(stack: LocalStack, pool: CacheMesh) -> None:
    keep_masters(stack, milliseconds=1000)
    old = stack.master_of("cache-1")
    killed: list[bool] = []
    failing: list[float] = []
    recovered: list[float] = []

    def watch(progress: ReplayProgress) -> None:
        if progress.seconds > 0.3 and not killed:
            killed.append(True)
            stack.process(old).kill()
        latest = progress.windows[-1] if progress.windows else None
        if progress.errors and not failing:
            failing.append(progress.seconds)
        well = failing and latest and latest.start_s > failing[0] and not latest.errors
        if well and stack.master_of("cache-1") != old:
            recovered.append(progress.seconds)
            replay.stop()

    keys = cycle(list(zipf(300, 300)))
    replay = Replay(pool, keys, threads=2, duration=AT_MOST, on_progress=watch)
    result = replay.run()
    stack.process(old).restart()
    keep_masters(stack)
    assert recovered, result
    assert not result.complete
    assert 0 < result.errors == sum(result.errors_by_class.values())
    assert result.wrong == 0
    window = result.error_window
    assert window is not None
    rounding = 0.002  # three figures, each rounded to a millisecond
    assert 0 < window.longest_s <= window.last_s - window.first_s + rounding <= result.seconds
    until(lambda: stack.master_of("cache-1") != old)


def test_progress_tells_of_each_second(plain: redis.Redis) -> None:
    seen: list[ReplayProgress] = []
    keys = cycle(["a", "b"])
    replay = Replay(plain, keys, duration=1.3, on_progress=seen.append, total=7, interval=0.05)
    result = replay.run()
    assert result.complete and result.seconds > 1.2
    in_time(result.seconds, 1.3)
    assert len(seen) > 5
    assert seen[-1].operations == result.operations
    assert seen[-1].total == 7
    (window, *_) = seen[-1].windows
    assert window.start_s == 0 and window.seconds >= 1
    assert 0 < window.operations <= result.operations
    assert window.latency.p99_us is not None
    assert window.hit_ratio is not None and window.hit_ratio > 0.99


def test_damage_found_on_the_way_stops_all_threads(
    plain: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stdin:
        buffer = io.BytesIO(struct.pack(">1000i", *range(1000)) + b"\x00")

    monkeypatch.setattr(sys, "stdin", Stdin)
    replay = Replay(plain, open_trace("-").keys(), threads=3)
    with pytest.raises(TraceError, match="standard input"):
        replay.run()
    assert 950 <= replay.result().operations <= 1000
    assert not replay.result().complete


@pytest.mark.parametrize(
    "arguments", [{"threads": 0}, {"value_size": -1}, {"ttl": 0.0}, {"duration": 0.0}]
)
def test_arguments_out_of_bounds(plain: redis.Redis, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Replay(plain, [], **arguments)


def test_interrupted_it_prints_what_it_found_and_exits_130(pool: CacheMesh) -> None:
    command, pipe = [*COMMAND, "replay", "-", "-o", "json", "--threads", "2"], subprocess.PIPE
    with ending(
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=REPOSITORY)
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(b"".join(b"user:%d\n" % number for number in range(20_000)))
        process.stdin.flush()
        until(lambda: pool.dbsize() > 100)
        process.send_signal(signal.SIGINT)
        process.stdin.close()  # ends a read for which no data comes
        out, err = process.stdout.read(), process.stderr.read()
        assert process.wait(AT_MOST) == 130
    assert err.strip() == b""
    result = json.loads(out)
    assert not result["complete"]
    assert result["operations"] == result["hits"] + result["misses"] > 100


def test_a_stream_cut_off_keeps_what_was_found(pool: CacheMesh) -> None:
    done = subprocess.run(
        [*COMMAND, "replay", "-"],
        input=struct.pack(">100i", *range(100)) + b"\x00\x00",
        capture_output=True,
        cwd=REPOSITORY,
    )
    assert done.returncode == 1
    assert b"error: trace standard input: it ends inside an integer" in done.stderr
    assert b"next: copy the file again" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"complete" in done.stdout


def test_a_pool_that_cannot_be_reached_is_no_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "keys.txt"
    trace.write_text("a\n")
    url = "cachemesh+sentinel://127.0.0.1:1/cache"
    assert cli.run(["replay", str(trace), "--url", url]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 2 and "127.0.0.1:1" in captured.err


def test_on_a_terminal_there_is_a_progress_bar_apart_from_the_data(
    pool: CacheMesh, tmp_path: Path
) -> None:
    trace = tmp_path / "keys.txt"
    trace.write_text("".join(f"{key}\n" for key in zipf(2_000, 8_000)))
    leader, follower = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    command, pipe = [*COMMAND, "replay", str(trace), "-o", "json"], subprocess.PIPE
    with ending(
        subprocess.Popen(command, stdout=pipe, stderr=follower, env=environ, cwd=REPOSITORY)
    ) as process:
        os.close(follower)
        drawn = b"".join(iter(lambda: read_until_closed(leader), b""))
        assert process.stdout
        out = process.stdout.read()
        assert process.wait(AT_MOST) == 0
    os.close(leader)
    assert json.loads(out)["operations"] == 8_000
    assert b"\x1b[" in drawn and b"/s  hits " in drawn and b"/8000" in drawn


def read_until_closed(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux: the other end of the terminal is closed
        return b""
