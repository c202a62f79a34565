"""The command table is complete, each command has a rule, and the registry learns others."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh.core.commands.blocking import BLOCKING
from cachemesh.core.commands.registry import CommandRegistry
from cachemesh.core.commands.spec import COMMANDS, FIRST_KEY
from cachemesh.core.commands.table import TABLE
from cachemesh.core.errors import CrossShardError, UnsupportedCommandError
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.planning.keyless import ALWAYS_REFUSED, RULES, rule_of
from cachemesh.core.planning.plan import UnknownCommandError, plan
from cachemesh.core.planning.split import SPLIT_RULES, CommandPlan
from cachemesh.core.planning.unknown_commands import resolve_all

ROOT = Path(__file__).parents[4]
REDIS_PY = Path(redis.__file__).parent
FOUR = SlotsPlacement.even([Shard(f"cache-{i}") for i in range(4)])

# Methods that only hand on a name they are given; the methods that call them name it.
HANDED_ON = {
    *("_geosearchgeneric", "_georadiusgeneric", "_eval", "_evalsha", "_fcall", "cluster"),
    *("_zaggregate", "_zrange", "_split_command_across_slots", "_execute_pipeline_by_slot"),
    *("execute_command", "execute"),
}


class Emitted(ast.NodeVisitor):
    """The names of the commands that redis-py's methods hand to ``execute_command``."""

    def __init__(self, constants: dict[str, str]) -> None:
        self.constants = dict(constants)
        self.names: set[str] = set()
        self.unresolved: set[str] = set()
        self._function: ast.FunctionDef | ast.AsyncFunctionDef | None = None

    def visit_Assign(self, node: ast.Assign) -> None:
        value = self._text(node.value)
        if value is not None and self._function is None:
            self.constants.update({t.id: value for t in node.targets if isinstance(t, ast.Name)})
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        outer, self._function = self._function, node
        self.generic_visit(node)
        self._function = outer

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if called in HANDED_ON and node.args and self._function is not None:
            found = list(self._names_in(node.args[0]))
            self.names.update(found)
            if not found and self._function.name not in HANDED_ON:
                self.unresolved.add(self._function.name)
        self.generic_visit(node)

    def _names_in(self, arg: ast.expr) -> Iterator[str]:
        """Return the names in an argument, or in the first item of the list that it unpacks."""
        text = self._text(arg)
        if text is not None:
            yield text
        elif isinstance(arg, ast.Starred) and isinstance(arg.value, ast.Name) and self._function:
            for node in ast.walk(self._function):
                if isinstance(node, (ast.Assign, ast.AnnAssign)):
                    yield from self._assigned(node, arg.value.id)

    def _assigned(self, node: ast.Assign | ast.AnnAssign, name: str) -> Iterator[str]:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        value = node.value.left if isinstance(node.value, ast.BinOp) else node.value
        to_it = any(isinstance(target, ast.Name) and target.id == name for target in targets)
        if to_it and isinstance(value, ast.List):
            words = [text for item in value.elts[:2] if (text := self._text(item))]
            if words:
                yield words[0] if words[0] in COMMANDS else " ".join(words)

    def _text(self, node: ast.expr | None) -> str | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        return self.constants.get(node.id) if isinstance(node, ast.Name) else None


@pytest.fixture(scope="module")
def emitted() -> Emitted:
    from redis import himport

    constants = {n: v for n, v in vars(himport).items() if isinstance(v, str) and n.isupper()}
    names: set[str] = set()
    unresolved: set[str] = set()
    for path in sorted((REDIS_PY / "commands").rglob("*.py")):
        visitor = Emitted(constants)
        visitor.visit(ast.parse(path.read_text(encoding="utf-8")))
        names |= visitor.names
        unresolved |= visitor.unresolved
    whole = Emitted({})
    whole.names, whole.unresolved = names, unresolved
    return whole


@pytest.mark.skipif(not redis.__version__.startswith("8."), reason="other releases have others")
def test_every_command_of_redis_py_is_known(emitted: Emitted) -> None:
    assert emitted.unresolved == set(), "methods whose command the search above does not find"
    assert len(emitted.names) > 500
    unknown = set()
    for name in emitted.names:
        found = CommandRegistry().look_up((name,))[0] or name in ALWAYS_REFUSED or name in RULES
        if not found and name not in {command.split(" ")[0] for command in COMMANDS}:
            unknown.add(name)
    assert unknown == set()


def test_every_command_of_the_table_is_decided_about() -> None:
    undecided = {
        name
        for name, command in COMMANDS.items()
        if not command.specs and name not in ALWAYS_REFUSED and rule_of(command) is None
    }
    assert undecided == set()
    for name in (*RULES, *ALWAYS_REFUSED, *SPLIT_RULES):
        assert name in COMMANDS or name == "STRALGO", name
    for name in RULES.keys() & ALWAYS_REFUSED.keys():
        pytest.fail(f"{name} is decided about twice")


def test_the_fast_way_has_only_commands_with_one_key_first() -> None:
    assert FIRST_KEY["GET"] is True
    assert FIRST_KEY["SET"] is False
    assert FIRST_KEY["HEXPIRE"] is False
    assert FIRST_KEY["VSIM"] is True
    assert not FIRST_KEY.keys() & (
        BLOCKING | ALWAYS_REFUSED.keys() | RULES.keys() | SPLIT_RULES.keys()
    )
    for name in ("MGET", "DEL", "EVAL", "SORT", "XREAD", "OBJECT ENCODING", "BLPOP", "COPY"):
        assert name not in FIRST_KEY


def test_rows_say_when_a_command_came_and_to_which_group_it_belongs() -> None:
    for name, (flags, _, _, _, group, since) in TABLE.items():
        assert set(flags) <= set("wrbpn?"), name
        assert not {"w", "r"} <= set(flags), name
        assert group and since[0].isdigit(), name


def test_the_document_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "generate-docs"), "--check"],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_commands_without_keys() -> None:
    def planned(*args: Any) -> CommandPlan:
        return plan(args, FOUR)

    cases: list[tuple[tuple[Any, ...], list[Any], Any]] = [
        (("DBSIZE",), [1, 2, 3, 4], 10),
        (("KEYS", "*"), [["a"], [], ["b"], []], ["a", "b"]),
        (("SCRIPT EXISTS", "x", "y"), [[1, 1], [1, 0], [1, 1], [1, 1]], [1, 0]),
        (("RANDOMKEY",), [None, "a", None, None], "a"),
        (("RANDOMKEY",), [None] * 4, None),
        (("WAIT", 1, 0), [2, 1, 3, 2], 1),
        (("WAITAOF", 0, 1, 0), [[1, 2], [0, 3], [1, 1], [1, 2]], [0, 1]),
        (("LASTSAVE",), [50, 40, 60, 70], 40),
        (("PUBSUB", "CHANNELS"), [["a"], ["b", "a"], [], []], ["a", "b"]),
        (("PUBSUB NUMSUB", "a", "b"), [["a", 1, "b", 0]] * 4, ["a", 4, "b", 0]),
        (("PUBSUB SHARDNUMSUB", "a"), [{"a": 1}, {"a": 2}, {}, {}], {"a": 3}),
        (("PUBSUB NUMPAT",), [3, 3, 2, 3], 3),
        (("CLIENT", "LIST"), [b"id=1\n", b"id=2\n", b"", b""], b"id=1\nid=2\n"),
        (("ACL LOG", "RESET"), ["OK"] * 4, "OK"),
        (("ACL LOG",), [["x"], [], ["y"], []], ["x", "y"]),
        (("SLOWLOG GET", 2), [[[0, 5]], [[0, 9], [1, 1]], [[7, 7]], []], [[0, 9], [7, 7]]),
        (("SLOWLOG", "GET", -1), [[[0, 5]], [], [], [[3, 6]]], [[3, 6], [0, 5]]),
        (("LATENCY HISTORY", "fork"), [[[5, 1]], [[3, 2]], [], []], [[3, 2], [5, 1]]),
        (
            ("LATENCY LATEST",),
            [[["fork", 5, 1, 9]], [["fork", 7, 2, 3]], [], []],
            [["fork", 7, 2, 9]],
        ),
        (("HOTKEYS", "GET"), [[{"x": 1}], None, [{"x": 2}], None], [{"x": 1}, {"x": 2}]),
        (("TS.MGET", "FILTER", "a=1"), [{"k1": 1}, {}, {"k2": 2}, {}], {"k1": 1, "k2": 2}),
        (("FLUSHALL",), [b"OK"] * 4, b"OK"),
    ]
    for args, replies, merged in cases:
        plan_ = planned(*args)
        assert [request.shard for request in plan_.sub_requests] == list(FOUR.names)
        assert plan_.merge(replies) == merged, args
    for call in (("TIME",), ("ECHO", "x"), ("CONFIG GET", "*"), ("EVAL", "return 1", 0)):
        assert len(planned(*call).sub_requests) == 1
    assert planned("PUBLISH", "ch", "m").sub_requests[0].shard == FOUR.shard_for("ch")
    running = {b"running_script": {b"name": b"f"}}
    idle: list[Any] = [b"running_script", None, b"engines", []]
    assert planned("FUNCTION STATS").merge([idle, running, idle, idle]) == running
    assert planned("FUNCTION STATS").merge([idle] * 4) == idle


def test_a_script_is_killed_where_it_runs() -> None:
    plan_ = plan(("SCRIPT KILL",), FOUR)
    idle = redis.ResponseError("NOTBUSY No scripts in execution right now.")
    assert plan_.takes_errors
    assert plan_.merge([idle, idle, "OK", idle]) == "OK"
    with pytest.raises(redis.ResponseError, match="NOTBUSY"):
        plan_.merge([idle] * 4)


def test_refused_commands_say_what_to_do_instead() -> None:
    one = SlotsPlacement.even([Shard("cache-0")])
    cases: list[tuple[tuple[Any, ...], str]] = [
        (("SELECT", 1), "pass db"),
        (("CLIENT KILL", "ID", "5"), "client_kill_filter"),
        (("CLIENT KILL", "1.2.3.4:5"), "client_kill_filter"),
        (("CLUSTER", "SLOTS"), "topology"),
        (("SENTINEL MASTERS",), "redis.sentinel"),
        (("FT.SEARCH", "i", "*"), "each instance"),
        (("TS.MRANGE", "-", "+", "FILTER", "a=1", "GROUPBY", "a", "REDUCE", "max"), "GROUPBY"),
        (("MEMORY", "DOCTOR"), "redis-py"),
    ]
    for args, what in cases:
        with pytest.raises(UnsupportedCommandError, match=what) as caught:
            plan(args, FOUR)
        assert "pool of 4 shards" in str(caught.value)
        assert isinstance(caught.value, redis.ResponseError)
        assert plan(args, one).sub_requests[0].shard == "cache-0"
    assert len(plan(("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes"), FOUR).sub_requests) == 4
    cases = [
        (("MULTI",), r"pipeline\(\)"),
        (("WATCH", "a"), r"pipeline\(\)"),
        (("SUBSCRIBE", "a"), r"pubsub\(\)"),
        (("MONITOR",), "redis-py"),
        (("HIMPORT", "SET", "a", "f", 1), r"hset\(\)"),
    ]
    for args, what in cases:
        for placement in (FOUR, one):
            with pytest.raises(UnsupportedCommandError, match=what):
                plan(args, placement)


RESP2 = [
    b"my.put", -3, [b"write"], 1, 1, 1, [], [b"request_policy:multi_shard"],
    [[b"flags", [b"RW"], b"begin_search", [b"type", b"index", b"spec", [b"index", 1]],
      b"find_keys", [b"type", b"range", b"spec", [b"lastkey", 0, b"keystep", 1, b"limit", 0]]]],
    [],
]  # fmt: skip
RESP3 = [
    "my", -2, {"readonly"}, 0, 0, 0, {"@read"}, [], [],
    [["my|get", 3, {"readonly"}, 2, 2, 1, {"@read"}, [],
      [{"flags": {"RO"}, "begin_search": {"type": "index", "spec": {"index": 2}},
        "find_keys": {"type": "range", "spec": {"lastkey": 0, "keystep": 1, "limit": 0}}}], []]],
]  # fmt: skip
REDIS_6 = [b"old.put", -3, [b"write"], 1, -1, 2]
MOVABLE = [b"my.odd", -2, [b"readonly", b"movablekeys"], 0, 0, 0]


def answered(
    registry: CommandRegistry, args: tuple[Any, ...], *replies: Any
) -> tuple[list[Any], CommandPlan]:
    """Plan a call; return the questions asked on the way, and the plan."""
    asking, asked = resolve_all([args], FOUR, registry), []
    waiting = iter((None, *replies))
    while True:
        try:
            asked.append(asking.send(next(waiting)))
        except StopIteration as done:
            return asked, done.value.get(id(args)) or plan(args, FOUR, registry=registry)


@pytest.mark.parametrize(
    ("args", "reply", "owner", "read_only"),
    [
        (("my.put", "a", 1), RESP2, "a", False),
        (("MY", "get", "a"), RESP3, "a", True),
        ((b"MY GET", "a"), RESP3, "a", True),
        (("OLD.PUT", "a", 1, "{a}b", 2), REDIS_6, "a", False),
    ],
)
def test_a_command_is_asked_about_once(
    args: tuple[Any, ...], reply: Any, owner: str, read_only: bool
) -> None:
    registry = CommandRegistry()
    asked, planned = answered(registry, args, [reply])
    head = args[0].decode() if isinstance(args[0], bytes) else args[0]
    assert asked == [("COMMAND", "INFO", head.upper().split()[0])]
    for _ in range(2):
        assert planned.sub_requests[0].shard == FOUR.shard_for(owner)
        assert planned.command.read_only is read_only
        asked, planned = answered(registry, args)
        assert asked == []
    with pytest.raises(UnknownCommandError):
        plan(args, FOUR, registry=CommandRegistry())


def test_what_the_server_cannot_describe_is_asked_about_at_each_call() -> None:
    registry = CommandRegistry()
    asked, planned = answered(registry, ("MY.ODD", "x", "a"), [MOVABLE], [b"a"])
    assert asked == [("COMMAND", "INFO", "MY.ODD"), ("COMMAND", "GETKEYS", "MY.ODD", "x", "a")]
    assert planned.sub_requests[0].shard == FOUR.shard_for("a")
    no_keys = redis.ResponseError("The command has no key arguments")
    asked, planned = answered(registry, ("MY.ODD", "x"), no_keys)
    assert len(asked) == len(planned.sub_requests) == 1
    with pytest.raises(CrossShardError):
        answered(registry, ("MY.ODD", "a", "b"), [b"a", b"b"])
    with pytest.raises(UnsupportedCommandError, match="NOPERM"):
        answered(registry, ("MY.ODD", "a"), redis.ResponseError("NOPERM no"))


def test_an_unknown_command_goes_to_one_server_for_its_error() -> None:
    registry = CommandRegistry()
    for args in (("NOSUCH", "a"), ("OBJECT", "NOSUCH", "a"), ("CONFIG",)):
        for _ in range(2):  # a server that learns it later is believed
            asked, planned = answered(registry, args, [None])
            assert len(asked) == 1
            assert [request.args for request in planned.sub_requests] == [args]


def test_bad_descriptions_are_refused() -> None:
    for reply in ([[b"x"]], [7], [{"a": 1}], "text", 5):
        with pytest.raises(UnsupportedCommandError, match="not understood"):
            answered(CommandRegistry(), ("NOSUCH", "a"), reply)
    with pytest.raises(UnsupportedCommandError, match="NOPERM"):
        answered(CommandRegistry(), ("NOSUCH", "a"), redis.ResponseError("NOPERM no"))


def test_not_more_is_remembered_than_has_room() -> None:
    registry = CommandRegistry()
    for number in range(10_050):
        name = b"m%d" % number
        registry.learn((name.decode().upper(), "a"), [[name, *REDIS_6[1:]]])
    assert len(registry._learned) <= 10_000
    assert registry.knows(("M10049", "a"))


def test_a_command_that_a_server_has_renamed_is_known_by_its_name_of_now() -> None:
    registry = CommandRegistry()
    registry.learn(("MY.SET", "a"), [[b"set", *REDIS_6[1:]]])
    assert registry.knows(("my.set", "a"))
    container = [b"xgroup", -2, [], 0, 0, 0, [], [], [], [[b"xgroup|create", *REDIS_6[1:]]]]
    registry.learn(("MY.XGROUP", "CREATE", "a"), [container])
    assert registry.knows(("MY.XGROUP CREATE", "a"))
    found = [registry.look_up((name, "a"))[0] for name in ("MY.SET", "MY.XGROUP CREATE", "SET")]
    assert [command and command.original for command in found] == ["SET", "XGROUP CREATE", "SET"]
