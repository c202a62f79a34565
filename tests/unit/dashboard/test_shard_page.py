"""What the page of one shard shows of a metaserver's answers."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import click
import pytest

from cachemesh.cli.main import cachemesh
from dashboard.connections import connections_of
from dashboard.shard_answers import ShardAnswers
from dashboard.shard_page import ShardPage, shard_page
from dashboard.shard_work import WorkLine
from dashboard.slow_log import SHOWN, slow_log_of
from dashboard.upstream import OperatorProblem
from tests.support.pool_statuses import instance, pool_of, shard, status

FELT = {"calls_per_second": 9.0, "errors_per_second": 0.5, "errors": {"timeout": 3}}
QUALITY = {
    "total": {**FELT, "p50": 0.001, "p99": 0.02},
    "shards": [{"shard": "cache-1", **FELT, "p50": 0.001, "p99": 0.02}],
    "clients": [{"client": f"id{number}", **FELT, "p50": 0.1, "p99": 0.2} for number in range(7)],
    "reporting": 7,
    "silent": [],
}
WELL = {"monitored": True, "master": "10.0.0.1:6379", "flags": ["master"], "quorum": 2} | {
    "usable": True,
    "replicas": 0,
    "other_sentinels": 0,
}
SENTINELS = {
    "at": "now",
    "shards": [{"shard": "cache-1", "master": "10.0.0.1:6379"}],
    "sentinels": [
        {
            "address": "10.0.1.0:26379",
            "up": True,
            "error": None,
            "shards": [{"shard": "cache-1", **WELL}],
        }
    ],
}
RESIZE: dict[str, Any] = {
    "id": 5,
    "state": "moving",
    "attempt": 1,
    "summary": "add shard cache-9",
    "actor": "system",
    "detail": "keys move",
    "strategy": "move",
    "back": False,
    "stage": 0,
    "stages": 1,
    "lost": [],
    "moved": 10,
    "left": 30,
    "share": 0.25,
    "rate": 5.0,
    "seconds_left": 6.0,
    "longest_hold": 0.0,
    "paused": False,
    "keys_per_second": 0,
    "max_latency": 0,
}
SOURCE = {
    "shard": "cache-1",
    "to": ["cache-9"],
    "state": "moving",
    "moved": 10,
    "left": 30,
    "bytes_moved": None,
    "detail": "",
}


def answers(name: str = "cache-1", found: dict[str, Any] | None = None) -> ShardAnswers:
    told = pool_of(3) if found is None else found
    (own,) = [each for each in told["shards"] if each["name"] == name]
    clients = [{"client": "id0", "app": "shop", "host": "web-3"}]
    return ShardAnswers(own, told, SENTINELS, QUALITY, clients, [], None, None)


def page(name: str = "cache-1", found: dict[str, Any] | None = None) -> ShardPage:
    return shard_page("cache", answers(name, found))


def test_a_shard_as_the_metaserver_tells_it() -> None:
    shown = page()
    assert (shown.row.name, shown.row.hue, shown.work) == ("cache-1", 1, ())
    assert shown.felt is not None and shown.felt.shards["cache-1"].classes == (("timeout", 0.5),)
    assert [(each.client, each.app, each.host) for each in shown.worst[:2]] == [
        ("id0", "shop", "web-3"),
        ("id1", "", ""),
    ]
    assert len(shown.worst) == 5
    assert shown.sentinels is not None
    assert [cell.sentinel for cell in shown.sentinels.cells] == ["10.0.1.0:26379"]
    assert page("cache-0").sentinels is None


def test_what_instances_were_not_asked_for_or_did_not_tell() -> None:
    problem = OperatorProblem("Metaserver unreachable", "no answer")
    shown = shard_page("cache", replace(answers(), slow_log=problem))
    assert (shown.slow_log.view, shown.slow_log.problem) == (None, problem)
    assert (shown.connections.view, shown.connections.problem) == (None, None)


def worked(**changes: Any) -> list[tuple[str, str]]:
    return [(each.word, each.what) for each in page(found=pool_of(3) | changes).work]


def test_keys_that_move_from_the_shard_and_to_it() -> None:
    move = RESIZE | {"sources": [SOURCE]}
    assert worked(resize=move) == [("moving", "Keys move to cache-9: 25.0%, 30 left")]
    waits = SOURCE | {"detail": "cache-9 does not answer"}
    (work,) = page(found=pool_of(3) | {"resize": RESIZE | {"sources": [waits]}}).work
    assert (work.state, work.why) == ("degraded", "cache-9 does not answer")
    back = SOURCE | {"shard": "cache-0", "to": ["cache-1"], "state": "done"}
    assert worked(resize=RESIZE | {"sources": [back]}) == [
        ("done", "Keys move here from cache-0: 100.0%, 30 left")
    ]
    other = SOURCE | {"shard": "cache-0"}
    assert worked(resize=RESIZE | {"sources": [other]}) == [
        ("moving", "The pool is resized: add shard cache-9")
    ]
    lost = RESIZE | {"sources": [SOURCE], "lost": ["cache-1"]}
    assert [word for word, _ in worked(resize=lost)] == ["lost", "moving"]


def test_a_sweep_and_a_pause() -> None:
    sweeps = [
        {"shard": "cache-1", "state": "waiting", "removed": 1200, "detail": "for client id0"},
        {"shard": "cache-0", "state": "running", "removed": 0, "detail": ""},
    ]
    pause = {"state": "paused", "by": "token:anna", "since": "now", "reason": "new disks"}
    assert page(found=pool_of(3) | {"sweeps": sweeps, "pause": pause}).work == (
        WorkLine(
            "waiting",
            "waiting",
            "A sweep removes the keys that it no longer owns: 1,200 removed",
            "for client id0",
        ),
        WorkLine("info", "paused", "The pool is paused by anna: nothing is begun", "new disks"),
    )


@pytest.mark.parametrize(
    ("state", "sentinel", "word"),
    [
        ("failing over", {"failover": True}, "failing over"),
        ("down", {"failover": True}, "failover"),
        ("joining", {}, "joining"),
        ("draining", {}, "draining"),
    ],
)
def test_what_its_state_is_about(state: str, sentinel: dict[str, Any], word: str) -> None:
    own = shard("cache-1", 1.0, instance("10.0.0.1:6379")) | {"state": state, "sentinel": sentinel}
    assert [each.word for each in page(found=status(own)).work] == [word]


@pytest.mark.parametrize("state", ["up", "draining"])
def test_every_command_can_be_typed_as_it_stands(state: str) -> None:
    own = shard("cache-1", 1.0, instance("10.0.0.1:6379"))
    leaves = {"state": state, "weight": 0} if state == "draining" else {}
    commands = dict(page(found=status(own | leaves)).commands)
    assert ("remove it" in commands, "give up on it" in commands) == (state == "up", state != "up")
    for text in commands.values():
        program, *words = shlex.split(text)
        assert program == "cachemesh"
        command: click.Command = cachemesh
        while isinstance(command, click.Group):
            found = command.get_command(click.Context(command), words.pop(0))
            assert found is not None, text
            command = found
        command.make_context("", words)


def slow(seconds: float, client_name: str = "", *words: str) -> dict[str, Any]:
    return {
        "id": 1,
        "at": "2026-01-01T00:00:00Z",
        "seconds": seconds,
        "command": list(words),
        "client": "10.0.0.9:1",
        "client_name": client_name,
    }


def test_slow_commands_of_all_instances_and_those_that_do_not_tell() -> None:
    master = {"instance": "10.0.0.1:6379", "role": "master", "error": None} | {
        "commands": [
            *[slow(0.01)] * SHOWN,
            slow(0.5, "cachemesh:0123456789ab:shop", "GET", "a key"),
        ]
    }
    first = {"instance": "10.0.0.2:6379", "role": "replica", "error": None}
    second = {"instance": "10.0.0.3:6379", "role": "replica", "error": "NOPERM", "commands": []}
    told = slow_log_of({"instances": [master, first | {"commands": [slow(2.0, "job")]}, second]})
    assert len(told.commands) == SHOWN
    assert [(each.instance, each.app, each.client) for each in told.commands[:2]] == [
        ("10.0.0.2:6379", "job", ""),
        ("10.0.0.1:6379", "shop", "0123456789ab"),
    ]
    assert told.commands[1].command == "GET 'a key'"
    assert [(each.role, each.instance, each.reason) for each in told.silent] == [
        ("replica", "10.0.0.3:6379", "NOPERM")
    ]


def test_whose_connections_there_are() -> None:
    one = {"blocked": False, "subscribed": 0, "client": None}
    told = connections_of(
        {
            "instance": None,
            "error": None,
            "connections": 9,
            "groups": [
                {"owner": "app", "name": "shop"},
                {"owner": "app", "name": ""},
                {"owner": "other", "name": "redis-py"},
                {"owner": "sentinel", "name": ""},
            ],
            "groups_left_out": 2,
            "idle": [
                one | {"owner": "app", "name": "shop", "client": "id0", "blocked": True},
                one | {"owner": "other", "name": "", "subscribed": 2},
            ],
            "large_output": [one | {"owner": "replica", "name": ""}],
        }
    )
    assert [(row.words, row.app, row.other) for row in told.rows] == [
        ("shop", "shop", False),
        ("no name", "", False),
        ("redis-py", "", True),
        ("Sentinels", "", False),
    ]
    assert [(row.words, row.client, row.waits) for row in (*told.idle, *told.large)] == [
        ("shop", "id0", "blocked"),
        ("no name", "", "subscribed"),
        ("Replicas", "", ""),
    ]
    assert (told.instance, told.error, told.more) == ("", "", 2)
