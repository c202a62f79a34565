"""`cachemesh key get` and `key info`: exact in pipes, safe on a terminal, for every type."""

from __future__ import annotations

import subprocess

import pytest
import redis

from cachemesh import CacheMesh
from cachemesh.cli import main as cli
from cachemesh.local import LocalStack
from tests.support.terminal import COMMAND, REPOSITORY, Run, Terminal, in_process

ODD = b"a\x1b[2Jb\x07\r\nc\xff\\"


@pytest.fixture
def run(
    cachemesh_stack: LocalStack,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    return in_process(cachemesh_stack.info["env"], monkeypatch, capsys)


@pytest.mark.parametrize("value", [b"", b"plain", b"line\n", bytes(range(256)), ODD])
def test_a_pipe_gets_the_bytes_and_nothing_else(
    run: Run, cachemesh_client: CacheMesh, value: bytes
) -> None:
    cachemesh_client.set("k", value)
    done = subprocess.run([*COMMAND, "key", "get", "k"], capture_output=True, cwd=REPOSITORY)
    assert (done.returncode, done.stdout, done.stderr) == (0, value, b"")


def test_a_terminal_gets_nothing_to_act_upon(run: Run, cachemesh_client: CacheMesh) -> None:
    cachemesh_client.set("k", ODD)
    terminal = Terminal("key", "get", "k")
    assert terminal.end() == 0
    line, note = terminal.raw.splitlines()
    assert line == rb"a\x1b[2Jb\x07\r\nc\xff\\"
    assert note.startswith(b"shown escaped")
    cachemesh_client.set("k", "Zürich")
    terminal = Terminal("key", "get", "k")
    assert terminal.end() == 0
    assert terminal.raw == "Zürich\r\n".encode()


def fill(client: CacheMesh) -> dict[str, tuple[int, str]]:
    """Store a key of each type, named after it; return lengths and commands that print them."""
    client.set("string", "12345")
    client.hset("hash", mapping={"a": 1, "b": 2, "c": 3})
    client.rpush("list", 1)
    client.sadd("set", 1, 2)
    client.zadd("zset", {"a": 1, "b": 2})
    client.xadd("stream", {"a": 1})
    return {
        "string": (5, ""),
        "hash": (3, "HGETALL hash"),
        "list": (1, "LRANGE list 0 -1"),
        "set": (2, "SMEMBERS set"),
        "zset": (2, "ZRANGE zset 0 -1 WITHSCORES"),
        "stream": (1, "XRANGE stream - +"),
    }


def test_info_of_every_type(run: Run, cachemesh_client: CacheMesh) -> None:
    for name, (length, _) in fill(cachemesh_client).items():
        code, found, err = run("key", "info", name)
        assert (code, err) == (0, "")
        assert (found["key"], found["type"], found["length"]) == (name, name, length)
        assert found["shard"] == cachemesh_client.shard_for(name)
        assert found["ttl"] is None
        assert found["memory"] == cachemesh_client.memory_usage(name)
        assert found["encoding"].encode() == cachemesh_client.object("ENCODING", name)
    cachemesh_client.pexpire("hash", 50_000)
    assert 0 < run("key", "info", "hash")[1]["ttl"] <= 50


def test_info_for_people_and_of_a_key_that_is_not_there(
    run: Run, cachemesh_client: CacheMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(cachemesh_client)
    assert cli.run(["key", "info", "list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["length", "1", "element"] in lines
    assert ["time", "to", "live", "for", "ever"] in lines
    code, found, err = run("key", "info", "absent")
    assert (code, found) == (4, None)
    assert "no such key" in err and "next: " in err
    assert run("key", "get", "absent")[0] == 4


def test_get_of_another_type_says_which_and_what_shows_it(
    run: Run, cachemesh_client: CacheMesh, cachemesh_stack: LocalStack
) -> None:
    for name, (length, shows) in fill(cachemesh_client).items():
        if name == "string":
            continue
        code, found, err = run("key", "get", name)
        assert (code, found) == (1, None)
        assert f"error: key {name}: it holds a {name} of {length} " in err
        _, following = err.splitlines()
        command, _, other = following.removeprefix("next: ").partition("; or: ")
        assert other == f"cachemesh key info {name}"
        assert command.endswith(shows)
        shard = cachemesh_client.shard_for(name)
        host, port = cachemesh_stack.master_of(shard).split(":")
        assert command.startswith(f"redis-cli -h {host} -p {port} ")
        with redis.Redis(host=host, port=int(port)) as shown:
            assert shown.execute_command(*command.split()[5:])


def test_a_shard_that_is_down_is_not_an_absent_key(
    run: Run, cachemesh_client: CacheMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is shown even if the pool, or the URL, turns errors into misses."""
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0) as stack:
        stack.process(stack.info["shards"][0]["master"]).kill()
        url = f"{stack.info['url']}?on_error=miss&command_timeout=0.5"
        for command in ("get", "info"):
            code, found, err = run("--url", url, "key", command, "k")
            assert (code, found) == (3, None), err
            assert "no such key" not in err


def test_keys_are_listed(run: Run, cachemesh_client: CacheMesh) -> None:
    cachemesh_client.flushall()
    cachemesh_client.mset({f"user:{number}": 1 for number in range(20)} | {"other": 3})
    cachemesh_client.set(b"user:\xff", 2)
    cachemesh_client.hset("user:hash", "a", 1)
    code, found, _ = run("key", "scan", "user:*")
    assert (code, found["complete"]) == (0, True)
    keys = {each["key"]: each["shard"] for each in found["keys"]}
    assert keys.keys() == {*(f"user:{number}" for number in range(20)), r"user:\xff", "user:hash"}
    assert keys["user:7"] == cachemesh_client.shard_for("user:7")
    assert [each["key"] for each in run("key", "scan", "--type", "hash")[1]["keys"]] == [
        "user:hash"
    ]
    assert run("key", "scan", r"user:\xff", "--escaped")[1]["keys"][0]["key"] == r"user:\xff"
    code, found, err = run("key", "scan", "--limit", "3")
    assert (code, len(found["keys"]), found["complete"]) == (0, 3, False)
    assert "there are more: --limit N" in err
    assert run("key", "scan", "nothing:*")[1] == {"keys": [], "complete": True}
