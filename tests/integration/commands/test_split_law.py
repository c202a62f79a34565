"""The law of splitting: on shards and merged, every command gives what one server gives.

Real servers on both sides: a pool of three shards, and a redis-server alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cachemesh
from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.core.commands import registry, spec
from cachemesh.core.commands.registry import TABLE_REGISTRY
from cachemesh.core.commands.spec import COMMANDS, FIRST_KEY, key_positions
from cachemesh.core.errors import InvalidCursorError
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.planning.split import SPLIT_RULES
from cachemesh.core.pool.document import PoolDocument
from cachemesh.local import LocalStack
from tests.support.sentinels import routes_by
from tests.support.server_capabilities import needs_command
from tests.support.waiting import until

pytestmark = pytest.mark.filterwarnings(
    # Not a strategy: threads of the clients use it while hypothesis draws.
    "ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning"
)
real = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
KEYS = st.sampled_from([f"k{i}" for i in range(12)] + ["", "{t}a", "{t}b", "{}", "ключ"])
VALUES = st.one_of(st.binary(max_size=20), st.integers(-5, 5))


@pytest.fixture(scope="module")
def mesh(shards: LocalStack) -> Iterator[Any]:
    with CacheMesh.from_url(shards.info["url"]) as client:
        yield client


@pytest.fixture
def both(mesh: Any, alone: Any) -> tuple[Any, Any]:
    mesh.flushall()
    alone.flushall()
    return mesh, alone


CALLS = st.one_of(
    st.tuples(
        st.sampled_from(["MGET", "DEL", "UNLINK", "EXISTS", "TOUCH"]),
        st.lists(KEYS, min_size=1, max_size=15),
    ),
    st.tuples(
        st.sampled_from(["MSET"]),
        st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=10).map(
            lambda pairs: [word for pair in pairs for word in pair]
        ),
    ),
    st.tuples(st.sampled_from(["DBSIZE", "RANDOMKEY", "PING", "FLUSHDB"]), st.just([])),
    st.tuples(st.sampled_from(["KEYS"]), st.sampled_from([["*"], ["k1*"], ["none"]])),
    st.tuples(st.sampled_from(["SADD", "LPUSH"]), st.tuples(KEYS, VALUES).map(list)),
    st.tuples(st.sampled_from(["SCRIPT EXISTS"]), st.just(["0" * 40])),
)


def outcome(client: Any, name: str, args: list[Any]) -> Any:
    """Return what a call returns, made comparable: KEYS promises no order."""
    try:
        reply = client.execute_command(name, *args)
    except redis.ResponseError as error:
        return str(error)
    if name == "RANDOMKEY":
        return reply is None
    return sorted(reply) if name == "KEYS" else reply


@real
@given(st.lists(CALLS, min_size=1, max_size=12))
def test_split_and_merged_is_what_one_server_gives(
    both: tuple[Any, Any], calls: list[tuple[str, list[Any]]]
) -> None:
    mesh, alone = both
    mesh.flushall()
    alone.flushall()
    for name, args in calls:
        assert outcome(mesh, name, args) == outcome(alone, name, args), (name, args)
    assert set(mesh.scan_iter()) == set(alone.scan_iter()) == set(mesh.keys())


@real
@given(st.lists(CALLS, min_size=1, max_size=12), st.sampled_from([None, False]))
def test_so_it_is_in_a_pipeline(
    both: tuple[Any, Any], calls: list[tuple[str, list[Any]]], transaction: bool | None
) -> None:
    mesh, alone = both
    mesh.flushall()
    alone.flushall()
    # A command whose key has another type fails alone; the others must not notice.
    pipes = mesh.pipeline(transaction=transaction), alone.pipeline(transaction=False)
    for pipe in pipes:
        for name, args in calls:
            if name != "RANDOMKEY":
                pipe.execute_command(name, *args)
    ours, theirs = (pipe.execute(raise_on_error=False) for pipe in pipes)
    for one, other in zip(ours, theirs, strict=True):
        if isinstance(one, list) and not any(item is None for item in one):
            assert sorted(one) == sorted(other)
        elif isinstance(one, Exception):
            assert type(one) is type(other)
        else:
            assert one == other
    assert set(mesh.keys()) == set(alone.keys())


@pytest.mark.parametrize("decode_responses", [False, True])
@pytest.mark.parametrize("protocol", [2, 3])
def test_whole_keyspace_and_server_commands(
    shards: LocalStack, protocol: int, decode_responses: bool
) -> None:
    options = {"protocol": protocol, "decode_responses": decode_responses}
    with CacheMesh.from_url(shards.info["url"], **options) as client:
        mesh: Any = client
        mesh.flushall()
        mesh.mset({f"k{i}": i for i in range(60)})
        info = mesh.info()
        assert info["db0"]["keys"] == mesh.dbsize() == 60
        assert info["redis_version"] and info["run_id"]
        assert mesh.info("keyspace") == {"db0": info["db0"]}
        assert mesh.config_set("slowlog-log-slower-than", 0) is True
        mesh.get("k1")
        assert len(mesh.slowlog_get(3)) == 3
        times = [entry["start_time"] for entry in mesh.slowlog_get(50)]
        assert times == sorted(times, reverse=True)
        assert mesh.slowlog_len() > 3
        assert mesh.slowlog_reset() is True
        mesh.config_set("slowlog-log-slower-than", 10000)
        assert mesh.config_get("slowlog-log-slower-than") == {"slowlog-log-slower-than": "10000"}
        assert len({client["addr"] for client in mesh.client_list()}) >= 3
        sha = mesh.script_load("return 1")
        assert mesh.script_exists(sha, "0" * 40) == [True, False]
        with pytest.raises(redis.ResponseError, match="NOTBUSY"):
            mesh.script_kill()
        assert mesh.wait(0, 10) == 0
        assert mesh.lastsave() is not None
        assert mesh.pubsub_numpat() == 0
        assert mesh.pubsub_channels("nobody*") == []
        assert mesh.pubsub_numsub("a") in ([(b"a", 0)], [("a", 0)])
        assert mesh.latency_latest() == []
        assert mesh.latency_reset() == 0
        assert mesh.acl_log() == []
        assert mesh.acl_log_reset() is True
        assert mesh.acl_setuser("someone", enabled=True) is True
        assert len(mesh.acl_users()) == 2
        assert mesh.acl_deluser("someone") == 1
        assert mesh.client_kill_filter(addr="127.0.0.1:1") == 0
        assert mesh.client_setname("worker-1") is True
        assert mesh.client_getname() in (b"worker-1", "worker-1")
        named = [one for one in mesh.client_list() if one["name"] == "worker-1"]
        assert len(named) == 3 and mesh.client_info()["addr"] in {one["addr"] for one in named}
        assert mesh.exists(mesh.randomkey()) == 1
        assert mesh.flushdb() is True
        assert mesh.dbsize() == 0


def test_functions_are_on_all_shards(shards: LocalStack, alone: Any) -> None:
    needs_command(alone, "FUNCTION")
    with CacheMesh.from_url(shards.info["url"]) as client:
        mesh: Any = client
        code = "#!lua name=law\nredis.register_function('one', function() return 1 end)"
        assert mesh.function_load(code, replace=True) in (b"law", "law")
        assert mesh.fcall("one", 1, "k5") == mesh.fcall("one", 0) == 1
        assert len(mesh.function_list()) == 1
        assert mesh.function_stats()
        assert mesh.function_delete("law") is True


def test_msetnx_rename_and_copy_over_shards_are_refused(both: tuple[Any, Any]) -> None:
    mesh, _ = both
    mesh.mset({"k1": 1, "k2": 2})
    assert mesh.shard_for("k1") != mesh.shard_for("k2")
    calls: list[Callable[[], Any]] = [
        lambda: mesh.msetnx({"k1": 1, "k2": 2}),
        lambda: mesh.rename("k1", "k2"),
        lambda: mesh.copy("k1", "k2"),
        lambda: mesh.smove("k1", "k2", "x"),
        lambda: mesh.sort("k1", by="w_*"),
    ]
    for call in calls:
        with pytest.raises(cachemesh.CrossShardError):
            call()
    assert mesh.mget("k1", "k2") == [b"1", b"2"]


def samples() -> Iterator[tuple[Any, ...]]:
    """Return a call of each command that has keys, with them where the table says."""
    for name, command in COMMANDS.items():
        words = name.split(" ")
        for begin, (kind, first, *_) in command.specs[:1]:
            if not isinstance(begin, int):
                continue
            call: list[Any] = [*words, *(f"x{i}" for i in range(12))]
            if kind == "keynum":
                call[begin + first] = "2"
            if len(command.specs) > 1 and isinstance(command.specs[1][0], int):
                second, (other, at, *_) = command.specs[1]
                if other == "keynum" and isinstance(second, int):
                    call[second + at] = "3"
            least = len(words) + (1 if kind == "range" else 6)  # as many keys as are counted
            for count in range(least, len(call) + 1):
                yield tuple(call[:count])
    yield from (
        ("XREAD", "COUNT", "5", "STREAMS", "a", "b", "0", "0"),
        ("XREADGROUP", "GROUP", "streams", "c", "BLOCK", "5", "streams", "a", "b", ">", ">"),
        ("SORT", "a", "BY", "STORE", "LIMIT", "0", "STORE", "GET", "#", "STORE", "d"),
        ("MIGRATE", "h", "1", "", "0", "9", "COPY", "KEYS", "a", "b"),
        ("GEORADIUS", "a", "1", "2", "3", "km", "STORE", "d"),
        ("GEORADIUSBYMEMBER", "a", "m", "3", "km", "COUNT", "1", "STOREDIST", "d"),
        ("BITOP", "AND", "d", "a", "b"),
        ("BLPOP", "a", "b", "0"),
        ("ZUNIONSTORE", "d", "2", "a", "b", "WEIGHTS", "1", "2"),
    )


def test_keys_are_where_the_server_says(alone: Any) -> None:
    checked: set[str] = set()
    for call in samples():
        command, words = TABLE_REGISTRY.look_up(call)
        assert command is not None
        try:
            theirs = alone.execute_command("COMMAND GETKEYS", *call)
        except redis.ResponseError as error:
            assert str(error).startswith(("Invalid", "The command has no key")), (call, error)
            continue  # another number of arguments, or a command this server does not have
        ours = [words[at] for at in key_positions(command, words)]
        assert sorted(ours) == sorted(key.decode() for key in map(to_bytes, theirs)), call
        checked.add(command.name)
    known = {name for name in alone.command() if COMMANDS.get(name.upper(), COMMANDS["GET"]).specs}
    assert len(checked) >= 0.9 * len(known)


def to_bytes(key: Any) -> bytes:
    return key.encode() if isinstance(key, str) else key


def together(mesh: CacheMesh, one: str, other: str) -> bool:
    return mesh.shard_for(one) == mesh.shard_for(other)


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that lacks some of the server's commands, as an older table would."""
    for name in ("SETRANGE", "OBJECT ENCODING", "SMOVE", "SORT", "MGET"):
        monkeypatch.delitem(COMMANDS, name)
        monkeypatch.delitem(FIRST_KEY, name, raising=False)
    monkeypatch.delitem(SPLIT_RULES, "MGET")
    monkeypatch.setattr(spec, "_KEYS_KNOWN_HERE", frozenset())


def test_a_server_is_asked_about_commands_that_are_not_in_the_table(
    shards: LocalStack, forgotten: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[str] = []

    def ask(words: tuple[Any, ...]) -> tuple[Any, ...]:
        questions.append(words[0])
        return registry.command_info_request(words)

    monkeypatch.setattr("cachemesh.core.planning.unknown_commands.command_info_request", ask)
    with CacheMesh.from_url(shards.info["url"], decode_responses=True) as client:
        mesh: Any = client
        mesh.flushall()
        for i in range(20):
            assert mesh.setrange(f"k{i}", 0, "value") == 5
            assert mesh.get(f"k{i}") == "value"
            assert mesh.object("encoding", f"k{i}") in ("embstr", "raw")
        assert questions == ["SETRANGE", "OBJECT"]
        with pytest.raises(cachemesh.CrossShardError):
            mesh.smove("k1", "k2", "x")
        mesh.rpush("list", 3, 1, 2)
        assert mesh.sort("list", store="{list}d") == 3
        elsewhere = next(f"k{i}" for i in range(20) if not together(mesh, f"k{i}", "list"))
        with pytest.raises(cachemesh.CrossShardError):
            mesh.sort("list", store=elsewhere)
        pipe = mesh.pipeline(transaction=False)
        pipe.get("k1").mget("k1", "{k1}x").smove("{t}a", "{t}b", "x").execute_command(
            "NOSUCH", "k2"
        ).get("k2")
        first, second, third, error, last = pipe.execute(raise_on_error=False)
        assert (first, second, third, last) == ("value", ["value", None], False, "value")
        assert isinstance(error, redis.ResponseError)
        with mesh.pipeline(transaction=True) as pipe:
            pipe.watch("k1")
            pipe.multi()
            pipe.setrange("k1", 0, "V")
            assert pipe.execute() == [5]


def test_a_command_no_server_knows_harms_nothing(mesh: Any) -> None:
    mesh.set("a", 1)
    for args in (("NOSUCH", "a"), ("CONFIG NOSUCH", "a"), ("CONFIG",), ("OBJECT", "NOSUCH", "a")):
        for _ in range(2):
            # Before 7.0 the server knows nothing of subcommands, and a bare CONFIG is not sent.
            with pytest.raises(
                redis.ResponseError, match=r"unknown|wrong number|CONFIG is refused"
            ):
                mesh.execute_command(*args)
    assert mesh.get("a") == b"1"


def test_the_same_holds_for_asyncio(shards: LocalStack, forgotten: None) -> None:
    async def body() -> None:
        async with AsyncCacheMesh.from_url(shards.info["url"], decode_responses=True) as client:
            mesh: Any = client
            await mesh.flushall()
            await mesh.mset({f"k{i}": i for i in range(50)})
            assert await mesh.dbsize() == (await mesh.info())["db0"]["keys"] == 50
            assert {key async for key in mesh.scan_iter(count=7)} == {f"k{i}" for i in range(50)}
            assert await mesh.setrange("x", 0, "v") == 1
            with pytest.raises(redis.ResponseError, match="unknown"):
                await mesh.execute_command("NOSUCH", "a")
            with pytest.raises(redis.ResponseError, match="NOTBUSY"):
                await mesh.script_kill()
            pipe = mesh.pipeline(transaction=False)
            pipe.set("a", 1).setrange("x", 0, "w").execute_command("NOSUCH").dbsize()
            results = await pipe.execute(raise_on_error=False)
            assert results[:2] == [True, 1]
            assert isinstance(results[2], redis.ResponseError)
            assert results[3] == 52

    asyncio.run(body())


def test_scan_takes_its_options_and_any_client_can_go_on(shards: LocalStack, mesh: Any) -> None:
    mesh.flushall()
    mesh.mset({f"k{i}": i for i in range(300)})
    mesh.hset("hash", "f", 1)
    assert set(mesh.scan_iter(match="k1*", count=50)) == set(mesh.keys("k1*"))
    assert list(mesh.scan_iter(_type="hash")) == [b"hash"]
    cursor, found = mesh.scan(count=10)
    assert 0 < cursor < 2**127
    while cursor:
        with CacheMesh.from_url(shards.info["url"]) as other:
            for _ in range(20):
                cursor, page = other.scan(cursor, count=10)
                found += page
                if not cursor:
                    break
    assert len(found) == len(set(found)) == 301
    for malformed in (5, -1, 2**127, "x"):
        with pytest.raises(InvalidCursorError):
            mesh.scan(malformed)


def write_document(path: Path, shards: LocalStack, version: int, names: list[str]) -> None:
    placement = SlotsPlacement.even([Shard(name) for name in names])
    sentinels = tuple(shards.info["sentinels"])
    beside = path.with_suffix(".new")
    beside.write_text(PoolDocument("cache", version, placement, sentinels=sentinels).to_json())
    beside.replace(path)


def test_a_scan_goes_on_through_a_resize(shards: LocalStack, tmp_path: Path, mesh: Any) -> None:
    mesh.flushall()
    path = tmp_path / "cache.json"
    write_document(path, shards, 1, ["cache-0", "cache-1"])
    with CacheMesh.from_url(f"cachemesh+file://{path}", decode_responses=True) as client:
        mesh = client
        mesh.mset({f"k{i}": i for i in range(200)})
        cursor, found = 0, set[str]()
        for _ in range(12):
            cursor, page = mesh.scan(cursor, count=10)
            found.update(page)
        write_document(path, shards, 2, ["cache-0", "cache-1", "cache-2"])
        until(lambda: routes_by(mesh, 2))
        late = next(f"late{i}" for i in range(99) if mesh.shard_for(f"late{i}") == "cache-2")
        mesh.set(late, 1)
        while cursor:
            cursor, page = mesh.scan(cursor, count=10)
            found.update(page)
        assert found == {f"k{i}" for i in range(200)} | {late}
