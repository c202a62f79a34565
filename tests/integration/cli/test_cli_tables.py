"""Tables on a real terminal: one line a row, no address folded or cut, everything in pipes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cachemesh import CacheMesh
from cachemesh.cli import main as cli
from cachemesh.local import LocalStack
from tests.support.terminal import COMMAND, REPOSITORY, Terminal
from tests.support.waiting import until

SHARDS, REPLICAS = 4, 2
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+:\d+")
_COMMANDS = (
    "pool status",
    "shard list",
    "sentinel list",
    "event list",
    "token list",
    "client list",
    "pool convergence",
    "shard show cache-0",
)
_ALL = """
import json, sys
from cachemesh.cli import main as cli
for command in json.loads(sys.argv[1]):
    print("$", *command, flush=True)
    assert cli.run(sys.argv[2:] + command) == 0
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=SHARDS, replicas=REPLICAS, dashboard=False) as started:
        yield started


def run(stack: LocalStack, *arguments: str) -> str:
    done = subprocess.run(
        [*COMMAND, *access(stack), *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    return done.stdout


def access(stack: LocalStack) -> list[str]:
    return ["--url", stack.info["url"], "--token-file", stack.info["token_file"]]


def on_terminal(
    options: list[str], columns: int, *commands: str, styled: bool = False
) -> dict[str, list[str]]:
    """Return the lines that each command prints; one process runs them all, which is faster."""
    words = json.dumps([command.split() for command in commands])
    python = [sys.executable, "-c", _ALL, words]
    shown = Terminal(*options, columns=columns, command=python)
    assert shown.end() == 0, shown.seen
    parts = (shown.raw.decode() if styled else shown.seen).split("$ ")[1:]
    return {command: p.splitlines()[1:] for command, p in zip(commands, parts, strict=True)}


def table_at(lines: list[str], first: str) -> list[str]:
    """Return the rows below the heading that begins with a word."""
    (at,) = (number for number, line in enumerate(lines) if line.startswith(first))
    rows = lines[at + 2 :]
    return rows[: rows.index("")] if "" in rows else rows


def healthy(stack: LocalStack) -> bool:
    done = run(stack, "pool", "status", "-o", "json")
    return bool(json.loads(done)["health"] == "ok")


@pytest.mark.parametrize("columns", [80, 120])
def test_one_line_a_row(stack: LocalStack, columns: int) -> None:
    until(lambda: healthy(stack))
    shown = on_terminal(access(stack), columns, *_COMMANDS)
    for command, lines in shown.items():
        assert max(map(len, lines)) <= columns, command
    assert len(table_at(shown["shard list"], "shard")) == SHARDS
    assert len(table_at(shown["sentinel list"], "sentinel")) == SHARDS * 3
    assert len(table_at(shown["shard show cache-0"], "instance")) == 1 + REPLICAS
    assert len(table_at(shown["token list"], "id")) == 1
    events = json.loads(run(stack, "event", "list", "-o", "json"))["events"]
    assert len(shown["event list"]) == 2 + len(events)
    rows = table_at(shown["pool status"], "shard")
    assert len(rows) == SHARDS
    for row, shard in zip(rows, stack.info["shards"], strict=True):
        words = row.split()
        assert words[:2] == [shard["name"], "up"]
        assert shard["master"] in words
        assert "2/2" in words
        assert row.rstrip().endswith("3/3 q2")


def test_slow_commands_of_a_shard(stack: LocalStack) -> None:
    with CacheMesh.from_url(stack.info["url"], token=stack.token) as client:
        client.config_set("slowlog-log-slower-than", 0)
        key = next(k for k in map(str, range(100)) if client.shard_for(k) == "cache-0")
        client.set(key, "slow value")
        client.config_set("slowlog-log-slower-than", 10_000)
    told = json.loads(run(stack, "shard", "slowlog", "cache-0", "-o", "json"))["instances"]
    assert [each["error"] for each in told] == [None] * (1 + REPLICAS)
    (master,) = [each for each in told if each["role"] == "master"]
    assert ["SET", key, "slow value"] in [each["command"] for each in master["commands"]]
    shown = run(stack, "shard", "slowlog", "cache-0")
    assert f"SET {key} 'slow value'" in shown and master["instance"] in shown


def test_connections_of_a_master(stack: LocalStack) -> None:
    with CacheMesh.from_url(stack.info["url"], token=stack.token, client_name="shop") as client:
        client.mget(map(str, range(100)))
        told = json.loads(run(stack, "shard", "connections", "cache-0", "-o", "json"))
        shown = on_terminal(access(stack), 80, "shard connections cache-0")
    assert (told["instance"], told["error"]) == (stack.info["shards"][0]["master"], None)
    found = {(each["owner"], each["name"]): each for each in told["groups"]}
    assert found["app", "shop"]["clients"] == 1
    assert found["replica", ""]["connections"] == REPLICAS
    assert sum(each["connections"] for each in found.values()) == told["connections"]
    lines = shown["shard connections cache-0"]
    assert max(map(len, lines)) <= 80
    assert any(row.split()[:3] == ["app", "shop", "1"] for row in table_at(lines, "owner"))
    assert "idle longest" in lines


def test_wide_and_pipes_have_every_column(stack: LocalStack) -> None:
    until(lambda: healthy(stack))
    piped = run(stack, "shard", "list").splitlines()
    for heading in ("weight", "hits", "memory", "replicas", "sentinel"):
        assert heading in piped[0]
    assert run(stack, "shard", "list", "-o", "wide").splitlines()[0] == piped[0]
    wide = on_terminal(access(stack), 80, "shard list -o wide")["shard list -o wide"]
    assert wide[0] == piped[0]
    assert len(wide) == 2 + SHARDS
    for row, shard in zip(piped[2:], stack.info["shards"], strict=True):
        assert row.startswith(shard["name"])
        for replica in shard["replicas"]:
            assert f"{replica} ok" in row
        assert row.endswith("3 of 3 Sentinels, quorum 2")


class Recorded(ThreadingHTTPServer):
    """A web server that repeats a metaserver's recorded replies."""

    def __init__(self, documents: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Recorded)
        self.documents = documents

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Recorded(BaseHTTPRequestHandler):
    server: Recorded

    def do_GET(self) -> None:
        body = self.server.documents[self.path.partition("?")[0]].encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@contextmanager
def served(documents: dict[str, str]) -> Iterator[list[str]]:
    """Serve documents; yield the options that lead a command to their server."""
    with Recorded(documents) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield ["--url", f"cachemesh://{server.address}/cache"]
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def told(stack: LocalStack) -> str:
    """The metaserver's replies by path, as JSON."""
    until(lambda: healthy(stack))
    commands = {
        "/v1/events": "event list",
        "/v1/tokens": "token list",
        "/v1/pools/cache/status": "pool status",
        "/v1/pools/cache/shards": "shard list",
        "/v1/pools/cache/clients": "client list",
    }
    return json.dumps(
        {path: run(stack, *words.split(), "-o", "json") for path, words in commands.items()}
    )


@pytest.mark.parametrize("columns", [70, 80, 120])
@pytest.mark.parametrize(
    "name", ["cache", "the-very-longest-name-that-anybody-may-give-to-one-shard-only"]
)
def test_the_widest_addresses_and_names_fit(told: str, columns: int, name: str) -> None:
    """The real documents fit, even with the longest possible addresses and names."""
    longest = {
        address: f"10.123.45.{60 + number}:1{6300 + number}"
        for number, address in enumerate(dict.fromkeys(_ADDRESS.findall(told)))
    }
    text = _ADDRESS.sub(lambda match: longest[match.group()], told).replace("cache-", f"{name}-")
    commands = ("pool status", "shard list", "event list", "token list", "client list")
    with served(json.loads(text)) as options:
        shown = on_terminal(options, columns, *commands)
    for command, lines in shown.items():
        assert max(map(len, lines)) <= columns, (command, lines)
        for part in re.findall(r"\d+\.\d+\.\d+\.[\d:]*", "\n".join(lines)):
            assert part in longest.values(), (command, lines)
    for command in ("pool status", "shard list"):
        rows = table_at(shown[command], "shard")
        assert len(rows) == SHARDS
        for number, row in enumerate(rows):
            assert re.match(rf"{name[:5]}.*-{number} ", row)
            assert ("…" in row) == (name != "cache")
            assert len(_ADDRESS.findall(row)) == 1


def test_known_work_is_yellow_and_no_trouble(told: str) -> None:
    documents = json.loads(told)
    status = json.loads(documents["/v1/pools/cache/status"])
    states = ("failing over", "joining", "up", "of the future")
    for shard, word in zip(status["shards"], states, strict=True):
        shard["state"] = word
    documents["/v1/pools/cache/status"] = json.dumps(status)
    with served(documents) as options:
        shown = on_terminal(options, 80, "pool status", styled=True)["pool status"]
    rows = table_at([*map(_plain, shown)], "shard")
    assert [row[9:21].strip() for row in rows] == [word[:12] for word in states]
    styled = "\n".join(shown)
    assert "\x1b[33mfailing over" in styled and "\x1b[33mjoining" in styled
    assert "\x1b[32mup" in styled


def _plain(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


def test_a_degraded_shard_is_pointed_at_not_one_that_fails_over(
    told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = json.loads(told)
    status = json.loads(documents["/v1/pools/cache/status"])
    status["health"] = "degraded"
    status["shards"][0]["state"] = "failing over"
    status["shards"][1]["state"] = "degraded"
    documents["/v1/pools/cache/status"] = json.dumps(status)
    with served(documents) as options:
        assert cli.run([*options, "pool", "status"]) == 5
    assert "next: look at shard cache-1" in capsys.readouterr().err


def test_events_keep_what_happened(told: str) -> None:
    """In a narrow terminal the actor is dropped before the action."""
    documents = json.loads(told)
    events = json.loads(documents["/v1/events"])
    detail = "10.123.45.67:16379 is master of cache-0 in place of 10.123.45.68:16379"
    for event in events["events"]:
        event.update(action="shard.failover", target="cache-0", detail=detail)
    documents["/v1/events"] = json.dumps(events)
    with served(documents) as options:
        shown = on_terminal(options, 80, "event list")["event list"]
    assert all("10.123.45.67:16379 is master of" in row for row in shown[2:])
