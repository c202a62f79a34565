"""The command against a real metaserver: pools, shards, keys, events, tokens, confirmations."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cachemesh import CacheMesh
from cachemesh.cli import event as event_commands
from cachemesh.cli import main as cli
from cachemesh.cli.context import CommandContext, CommonOptions
from cachemesh.local import LocalStack
from tests.support.process_cleanup import ending
from tests.support.sentinels import routes_by
from tests.support.terminal import COMMAND, REPOSITORY, Run, in_process
from tests.support.waiting import AT_MOST, until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=1, dashboard=False) as started:
        yield started


@pytest.fixture(scope="module")
def spare(stack: LocalStack) -> dict[str, Any]:
    """A master with a replica that serves no pool yet."""
    return stack.start_pair("spare-1")


@pytest.fixture
def run(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    return in_process(stack.info["env"], monkeypatch, capsys)


@pytest.fixture(scope="module")
def client(stack: LocalStack) -> Iterator[CacheMesh]:
    with CacheMesh.from_url(stack.info["url"], token=stack.token) as connected:
        yield connected


def healthy(run: Run) -> bool:
    return run("pool", "status")[0] == 0


def keys_per_shard(run: Run) -> list[int]:
    """Return how many keys the metaserver last saw on each master."""
    return [shard["master"]["keys"] or 0 for shard in run("shard", "list")[1]["shards"]]


def said(err: str) -> None:
    """Check that stderr ends in a line with the error and a line with the next step."""
    *_, error, following = err.splitlines()
    assert error.startswith("error: ") and following.startswith("next: "), err
    assert "Traceback" not in err


def test_what_there_is(run: Run, stack: LocalStack) -> None:
    until(lambda: healthy(run))
    code, pools, _ = run("pool", "list")
    assert code == 0
    assert [(p["pool"], p["shards"], p["strategy"]) for p in pools["pools"]] == [
        ("cache", 2, "slots")
    ]
    assert run("pool", "show")[1] == run("pool", "show", "cache")[1]
    assert run("pool", "show")[1]["sentinels"] == stack.info["sentinels"]
    shards = run("shard", "list")[1]["shards"]
    assert [s["name"] for s in shards] == ["cache-0", "cache-1"]
    assert run("shard", "show", "cache-1")[1]["name"] == "cache-1"
    sentinels = run("sentinel", "list")[1]["sentinels"]
    assert [s["address"] for s in sentinels] == stack.info["sentinels"]
    masters = {s["name"]: s["master"] for s in stack.info["shards"]}
    for entry in sentinels:
        assert {s["shard"]: s["master"] for s in entry["shards"]} == masters


def test_tables_and_yaml(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["pool", "status"]) == 0
    out = capsys.readouterr().out
    assert "pool cache, version" in out and "cache-1" in out and "\x1b" not in out
    for command in (["pool", "list"], ["pool", "show"], ["shard", "list"], ["sentinel", "list"]):
        assert cli.run(command) == 0
        assert "cache" in capsys.readouterr().out
    for command in (["shard", "show", "cache-0"], ["event", "list"], ["token", "list"]):
        assert cli.run(command) == 0
        assert len(capsys.readouterr().out.splitlines()) >= 3
    assert cli.run(["pool", "show", "-o", "yaml"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["pool"] == "cache"


def test_settings(run: Run) -> None:
    before = run("pool", "show")[1]
    code, plan, _ = run("pool", "set", "command_timeout=2.5", "--dry-run")
    assert (code, plan["dry_run"]) == (6, True)
    assert run("pool", "show")[1] == before
    assert run("pool", "set", "command_timeout=2.5")[0] == 0
    assert run("pool", "show")[1]["settings"]["command_timeout"] == 2.5
    assert run("pool", "set", "command_timeout=2.5", "--dry-run")[0] == 0
    assert run("pool", "set", "command_timeout=")[0] == 0
    assert "command_timeout" not in run("pool", "show")[1]["settings"]
    for wrong in ("command_timeout=soon", "command_timeout=-1", "no_such_setting=1"):
        code, _, err = run("pool", "set", wrong)
        assert code == 2
        assert wrong.partition("=")[0] in err
        said(err)
    for wrong in ("comand_timeout=1", "comand_timeout=", "comand_timeout=null"):
        code, _, err = run("pool", "set", wrong)
        assert code == 2
        assert "error: setting 'comand_timeout': there is no such setting" in err
        assert "did you mean command_timeout? known are: command_timeout, " in err
        said(err)
    _, _, err = run("pool", "set", "xyz=1")
    assert "next: known are: command_timeout, " in err


DROP = ("--strategy", "drop")


def test_a_shard_comes_and_goes(run: Run, spare: dict[str, Any], client: CacheMesh) -> None:
    client.flushall()
    for number in range(600):
        client.set(f"key:{number}", number)
    until(lambda: sum(keys_per_shard(run)) == 600)
    address = spare["master"]
    before = run("pool", "show")[1]
    code, plan, _ = run("shard", "add", "spare-1", address, *DROP, "--dry-run")
    assert code == 6
    assert plan["moved_slots"] == 5461 and plan["destroys"]
    assert run("pool", "show")[1] == before

    code, _, err = run("shard", "add", "spare-1", address, *DROP)  # keys go cold: not confirmed
    assert code == 2
    assert "destroys: about" in err and "--yes" in err
    assert run("pool", "show")[1] == before

    code, done, err = run("shard", "add", "spare-1", address, *DROP, "--yes")
    assert code == 0
    assert done["version_after"] > before["version"]
    assert "cachemesh pool status" in err
    code, _, err = run("shard", "add", "spare-1", address, *DROP, "--yes")
    assert code == 4
    said(err)
    # A removal gives slots to shards that may still be swept: the command waits for that.
    code, done, _ = run("shard", "remove", "spare-1", *DROP, "--yes")
    assert code == 0
    assert done["document"]["placement"]["shards"][-1]["name"] == "cache-1"
    until(lambda: not run("pool", "status")[1]["sweeps"])


def test_weights(run: Run) -> None:
    assert run("shard", "set-weight", "cache-0", "1", "--dry-run")[0] == 0
    assert run("shard", "set-weight", "cache-0", "1")[0] == 0
    code, plan, _ = run("shard", "set-weight", "cache-0", "3", "--dry-run")
    assert (code, plan["moved_slots"]) == (6, 4096)
    assert run("shard", "set-weight", "cache-0", "3", "--yes")[0] == 0
    assert run("shard", "show", "cache-0")[1]["slots"] == 12_288
    assert run("shard", "set-weight", "cache-0", "1", "--yes")[0] == 0


def test_keys(run: Run, stack: LocalStack, client: CacheMesh) -> None:
    version = run("pool", "show")[1]["version"]
    until(lambda: routes_by(client, version))
    client.flushall()
    assert run("key", "set", r"a\x00\xff", "v", "--ttl", "50", "--escaped")[0] == 0
    assert client.get(b"a\x00\xff") == b"v"
    assert 40 < client.ttl(b"a\x00\xff") <= 50
    code, found, _ = run("key", "get", r"a\x00\xff", "--escaped")
    assert (code, found["value"], found["key"]) == (0, "v", r"a\x00\xff")
    client.set("binary", b"\xff")
    assert run("key", "get", "binary")[1]["value_base64"] == "/w=="
    code, none, err = run("key", "get", "absent")
    assert (code, none) == (4, None)
    said(err)

    code, place, _ = run("key", "locate", "{user:1}:name")
    assert code == 0
    shards = {shard["name"]: shard for shard in stack.info["shards"]}
    assert place["shard"] == client.shard_for("{user:1}:name")
    assert place["slot"] == run("key", "locate", "user:1")[1]["slot"]
    assert place["master"] == shards[place["shard"]]["master"]
    assert place["replicas"] == shards[place["shard"]]["replicas"]

    assert run("key", "set", "k", "v", "--dry-run")[0] == 6
    assert client.get("k") is None
    client.mset({"k": 1, "l": 2})
    assert run("key", "del", "k", "l", "absent", "--dry-run")[0] == 6
    code, none, err = run("key", "del", "k", "l")
    assert (code, client.exists("k", "l")) == (2, 2)
    assert "--yes" in err
    said(err)
    code, done, _ = run("key", "del", "k", "l", "absent", "--yes")
    assert (code, done["deleted"], client.exists("k", "l")) == (0, 2, 0)
    assert run("key", "del", "k", "--dry-run")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["shard", "add", "new", "127.0.0.1:1"], 1, "127.0.0.1:1"),
        (["shard", "add", "new", "8.8.8.8:6379"], 1, "8.8.8.8"),
        (["shard", "add", "new", "MASTER"], 1, ""),
        (["shard", "add", "new", "REPLICA"], 1, "REPLICA"),
        (["shard", "add", "new", "SENTINEL"], 1, ""),
        (["shard", "remove", "absent", "--yes"], 4, "absent"),
        (["shard", "show", "absent"], 4, "absent"),
        (["shard", "set-weight", "absent", "2"], 4, "absent"),
        (["pool", "show", "absent"], 4, "absent"),
        (["pool", "status", "absent"], 4, "absent"),
        (["pool", "delete", "absent", "--yes"], 4, "absent"),
        (["key", "locate", "k", "--pool", "absent"], 4, "absent"),
        (["key", "get", "k", "--pool", "absent"], 4, "absent"),
        (["token", "revoke", "nonsense", "--yes"], 4, "nonsense"),
    ],
)
def test_what_cannot_be_is_refused(
    run: Run, stack: LocalStack, arguments: list[str], code: int, reason: str
) -> None:
    shard = stack.info["shards"][0]
    places = {
        "MASTER": shard["master"],
        "REPLICA": shard["replicas"][0],
        "SENTINEL": stack.info["sentinels"][0],
    }
    before = run("pool", "show")[1]
    found, data, err = run(*[places.get(word, word) for word in arguments])
    assert (found, data) == (code, None)
    assert places.get(reason, reason) in err
    said(err)
    assert run("pool", "show")[1] == before


def test_a_pool_is_made_and_deleted(run: Run, stack: LocalStack, client: CacheMesh) -> None:
    client.flushall()
    first, second = stack.start_pair("other-0", 0), stack.start_pair("other-1", 0)
    sentinels = [word for s in stack.info["sentinels"] for word in ("--sentinel", s)]
    shards = [
        "--shard",
        f"other-0={first['master']}",
        "--shard",
        f"other-1={second['master']},weight=3",
    ]
    create = ["pool", "create", "other", *shards, *sentinels, "--quorum", "2"]
    assert run(*create, "--dry-run")[0] == 6
    assert run("pool", "show", "other")[0] == 4
    assert run(*create)[0] == 0
    assert run(*create)[0] == 4
    placement = run("pool", "show", "other")[1]["placement"]
    assert [shard["weight"] for shard in placement["shards"]] == [1, 3]
    assert run("key", "set", "k", "v", "--pool", "other")[0] == 0
    assert client.get("k") is None
    assert run("shard", "remove", "other-0", "--pool", "other", "--yes")[0] == 0
    code, _, err = run("shard", "remove", "other-1", "--pool", "other", "--yes")
    assert code == 4
    said(err)
    code, _, err = run("pool", "delete", "other")
    assert code == 2
    said(err)
    assert run("pool", "delete", "other", "--dry-run")[0] == 6
    assert run("pool", "delete", "other", "--yes")[0] == 0
    assert run("pool", "show", "other")[0] == 4


def test_tokens(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: LocalStack
) -> None:
    assert run("token", "create", "app", "--role", "read", "--dry-run")[0] == 6
    file = tmp_path / "token"
    code, made, err = run("token", "create", "app", "--role", "read", "--output-file", str(file))
    assert code == 0
    secret = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert secret not in json.dumps(made) + err
    known = len(run("token", "list")[1]["tokens"])
    code, _, err = run("token", "create", "app2", "--role", "read", "--output-file", str(file))
    assert code == 1
    said(err)
    assert len(run("token", "list")[1]["tokens"]) == known

    monkeypatch.setenv("CACHEMESH_TOKEN", secret)
    assert run("pool", "list")[0] == 0
    code, _, err = run("pool", "set", "command_timeout=2")
    assert code == 1
    assert secret not in err
    said(err)
    monkeypatch.delenv("CACHEMESH_TOKEN")

    identity = str(made["id"])
    assert run("token", "revoke", identity, "--dry-run")[0] == 6
    assert run("token", "revoke", identity)[0] == 2
    assert run("token", "revoke", identity, "--yes")[0] == 0
    assert run("pool", "list", "--token-file", str(file))[0] == 1

    only = ("token", "create", "only", "--role", "read", "--pool", "cache", "--expires-in", "90d")
    limited = run(*only, "--output-file", str(tmp_path / "only"))[1]
    assert limited["pools"] == ["cache"]
    assert limited["expires"] is not None
    before = (tmp_path / "only").read_text()
    (tmp_path / "only").chmod(0o640)
    rotate = ("token", "rotate", "only", "--output-file", str(tmp_path / "only"))
    assert run(*rotate, "--dry-run")[0] == 6
    assert run(*rotate, "--overlap", "soon")[0] == 2
    assert run(*rotate, "--overlap", "0s")[0] == 2  # it asks
    code, rotated, err = run(*rotate)
    assert code == 0
    assert (tmp_path / "only").read_text() not in (before, json.dumps(rotated) + err)
    assert (tmp_path / "only").stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == ["only", "token"]
    assert run("pool", "list", "--token-file", str(tmp_path / "only"))[0] == 0
    assert run("token", "revoke", "only", "--yes")[0] == 0

    shown = run("token", "create", "shown", "--role", "admin")[1]
    monkeypatch.setenv("CACHEMESH_TOKEN", shown["token"])
    assert run("token", "revoke", str(shown["id"]), "--yes")[0] == 0


def test_clients_and_events(run: Run, client: CacheMesh) -> None:
    client.get("k")
    version = run("pool", "show")[1]["version"]
    until(lambda: version in [c["version"] for c in run("client", "list")[1]["clients"]])
    until(lambda: not run("pool", "status")[1]["sweeps"])  # the end of a sweep is an event too
    run("pool", "set", "poll_interval=4")
    run("pool", "set", "poll_interval=")
    events = run("event", "list")[1]["events"]
    assert [e["id"] for e in events] == sorted(e["id"] for e in events)
    assert [e["action"] for e in events[-2:]] == ["pool.settings"] * 2
    assert run("event", "list", "--limit", "1")[1]["events"] == events[-1:]
    added = ("--since", "7d", "--shard", "cache-0", "--action", "replica")
    assert run("event", "list", *added)[1]["events"] == [
        e for e in events if e["action"].startswith("replica.") and e["after"]["shard"] == "cache-0"
    ]
    assert run("event", "list", "--since", events[-1]["at"])[1]["events"] == events[-1:]
    found = run("event", "list", "--grep", "POLL_INTERVAL", "--limit", "2")[1]["events"]
    assert found == events[-2:]
    assert run("event", "list", "--since", "2999-01-01")[1]["events"] == []
    code, _, said = run("event", "list", "--pool", "absent", "--limit", "5")
    assert code == 4
    assert "'absent'" in said
    assert "next: cachemesh pool list" in said


def test_events_are_followed(run: Run) -> None:
    command = [*COMMAND, "event", "list", "--follow", "--limit", "1", "-o", "json"]
    pipe = subprocess.PIPE
    with ending(
        subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=REPOSITORY, bufsize=1)
    ) as process:
        assert process.stdout and process.stderr
        last = json.loads(process.stdout.readline())
        until(lambda: not run("pool", "status")[1]["sweeps"])
        run("pool", "set", "poll_interval=3")
        run("pool", "set", "poll_interval=")
        following = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(AT_MOST) == 130
        assert process.stderr.read().strip() == ""
    assert [event["action"] for event in following] == ["pool.settings"] * 2
    assert last["id"] < following[0]["id"] < following[1]["id"]


def test_none_is_left_out_where_more_has_happened_than_one_answer_has(
    run: Run, stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a time in which no metaserver answered who follows."""
    monkeypatch.setattr(event_commands, "_MOST", 1)
    events = run("event", "list")[1]["events"]
    options = CommonOptions(stack.info["url"], stack.info["token_file"])
    context, of_pool = CommandContext(options), {"pool": "cache"}
    assert len(events) > 2
    assert event_commands._new(context, of_pool, events[0]["id"]) == events[1:]


def test_unhealthy_is_5(run: Run, stack: LocalStack) -> None:
    replica = stack.process(stack.info["shards"][0]["replicas"][0])
    replica.kill()
    until(lambda: run("pool", "status")[0] == 5)
    _, data, err = run("pool", "status")
    assert data["health"] == "degraded"
    assert "cache-0" in err
    said(err)
    replica.restart()
    until(lambda: healthy(run))
