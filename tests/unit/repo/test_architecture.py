"""The arrows of docs/architecture.md: who may import whom, read from every module's source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("cachemesh", "cachemesh_command", "metaserver", "dashboard")
NOT_PURE = {
    *("socket", "ssl", "select", "selectors", "threading", "multiprocessing", "concurrent"),
    *("subprocess", "signal", "time", "datetime", "sched", "asyncio", "http", "urllib"),
    *("os", "pathlib", "io", "logging"),
}


PURE = ("cachemesh.core", "metaserver.domain")
"""Parts without I/O and clocks: they import no module of NOT_PURE."""


@dataclass(frozen=True)
class Rule:
    """What one part may import beside the standard library and itself.

    Attributes:
        part: a package or a module, with all that is within.
        ours: parts of this project that it may import.
        others: packages of others that it may import.
        but: parts within those of ``ours``, or within the part itself, that it may not import.
    """

    part: str
    ours: tuple[str, ...]
    others: tuple[str, ...]
    but: tuple[str, ...] = ()


CLIENT = ("cachemesh.core", "cachemesh.discovery", "cachemesh.transport")
SHARED = ("cachemesh._client",)  # of both clients
SYNC = ("cachemesh.sync",)


def _metaserver(room: str, below: str, *others: str) -> Rule:
    """The rule of a room of the metaserver, which also imports `domain`, `process` and core."""
    rooms = tuple(f"metaserver.{each}" for each in ("domain", "process", *below.split()))
    return Rule(f"metaserver.{room}", ("cachemesh.core", *rooms), others)


_BELOW_API = "redis_io store failover service loops watch webhooks"
METASERVER_RULES = (
    Rule("metaserver.domain", ("cachemesh.core",), ()),
    Rule("metaserver.process", ("cachemesh.core",), ("gevent",)),
    _metaserver("redis_io", "", "redis", "hiredis"),
    Rule(
        "metaserver.store",
        (
            *("cachemesh.core", "cachemesh.discovery.zookeeper_layout"),
            "cachemesh.discovery.zookeeper_login",
            *("metaserver.domain", "metaserver.process"),
        ),
        ("kazoo", "gevent"),
    ),
    _metaserver("watch", "store", "gevent"),
    _metaserver("failover", "redis_io store", "redis"),
    _metaserver("service", "redis_io store failover", "redis"),
    _metaserver("loops", "redis_io store failover service", "redis"),
    _metaserver("webhooks", "redis_io store"),
    _metaserver("api", _BELOW_API, "flask", "werkzeug", "jsonschema"),
    Rule(
        "metaserver.observing",
        (
            *("cachemesh.core", "cachemesh.discovery"),
            *("metaserver.domain", "metaserver.process", "metaserver.store"),
        ),
        ("click",),
    ),
    _metaserver("runtime", f"{_BELOW_API} api observing"),
    Rule(
        "metaserver.cli",
        (
            *("cachemesh.core", "cachemesh.serving", "metaserver.runtime", "metaserver.process"),
            *("metaserver.zookeeper_options", "metaserver.observing"),
            *("metaserver.password_options", "metaserver.redis_tls_options"),
            "metaserver.webhook_options",
            *(f"metaserver.{room}" for room in f"{_BELOW_API} api".split()),
        ),
        ("click", "flask"),
    ),
    Rule(
        "metaserver.zookeeper_options",
        (
            *("cachemesh.core", "cachemesh.discovery.zookeeper_layout"),
            *("cachemesh.discovery.zookeeper_login", "metaserver.process"),
        ),
        ("click",),
    ),
    _metaserver("password_options", "", "click"),
    _metaserver("redis_tls_options", "redis_io password_options", "click"),
    _metaserver("webhook_options", "redis_io webhooks password_options", "click"),
    Rule("metaserver.__main__", ("metaserver.cli", "cachemesh_command.quick"), ("gevent",)),
    Rule("metaserver", (), ()),
)
SYNC_BYTES, AIO_BYTES = "cachemesh.transport.sync", "cachemesh.transport.aio"
WORDS = tuple(  # of the core, which all of its rooms may use
    f"cachemesh.core.{name}"
    for name in (
        *("errors", "rerouting", "names", "json_text", "malformed_replies", "hidden_secrets"),
        "client_list",
    )
)
ROOMS = {  # of the core, and which others each of them may use
    "commands": (),
    "placement": ("commands",),
    "planning": ("placement", "commands", "resilience"),
    "pool": ("placement", "migration"),
    "resilience": (),
    "reads": ("commands", "resilience"),
    "migration": ("placement",),
    "quality": ("resilience",),
}
RULES = (
    *(Rule(part, WORDS, ("redis",)) for part in WORDS),
    *(
        Rule(
            f"cachemesh.core.{room}",
            (*WORDS, *(f"cachemesh.core.{used}" for used in uses)),
            ("redis",),
        )
        for room, uses in ROOMS.items()
    ),
    Rule("cachemesh.core", (), ("redis",)),
    Rule("cachemesh.transport", ("cachemesh.core",), ("redis", "hiredis"), (SYNC_BYTES, AIO_BYTES)),
    Rule(SYNC_BYTES, ("cachemesh.core", "cachemesh.transport"), ("redis", "hiredis"), (AIO_BYTES,)),
    Rule(AIO_BYTES, ("cachemesh.core", "cachemesh.transport"), ("redis", "hiredis"), (SYNC_BYTES,)),
    Rule(
        "cachemesh.discovery",
        (
            "cachemesh.core",
            *(f"cachemesh.transport.{each}" for each in ("redis_py", "name_resolution")),
            "cachemesh.transport.lease_clock",
        ),
        ("redis", "hiredis"),
    ),
    Rule("cachemesh.discovery.zookeeper_reader", CLIENT[:2], ("kazoo",)),  # imported when used
    *(Rule(part, (*CLIENT, *SHARED), ("redis",), (AIO_BYTES,)) for part in SHARED),
    *(Rule(part, (*CLIENT, *SHARED, *SYNC), ("redis",), (AIO_BYTES,)) for part in SYNC),
    Rule("cachemesh.asyncio", (*CLIENT, *SHARED), ("redis",), (SYNC_BYTES,)),
    Rule("cachemesh", ("cachemesh.sync", "cachemesh.core.errors"), ()),
    Rule("cachemesh.replay", ("cachemesh.core",), ("redis",)),
    Rule("cachemesh.local", ("cachemesh.core", "cachemesh.discovery"), ("redis",)),
    Rule(
        "cachemesh.local.tls",
        ("cachemesh.core", "cachemesh.discovery", "cachemesh.local.binaries"),
        ("trustme",),
    ),
    Rule("cachemesh.local.reaper", (), ()),  # runs as a plain file, with the standard library alone
    Rule("cachemesh.local.pytest_plugin", ("cachemesh", "cachemesh.local"), ("pytest",)),
    Rule(
        "cachemesh.cli",
        ("cachemesh", *CLIENT, "cachemesh.sync", "cachemesh.local", "cachemesh.replay"),
        ("redis", "click", "rich", "yaml"),
    ),
    Rule(
        "cachemesh.demo",
        ("cachemesh", *CLIENT, "cachemesh.sync", "cachemesh.local", "cachemesh.replay"),
        ("redis", "rich"),
    ),
    Rule("cachemesh.serving", (), ("gunicorn", "gevent", "werkzeug")),
    *METASERVER_RULES,
    Rule("cachemesh_command", (), ()),  # nothing that takes time to import
    Rule("dashboard.__main__", ("cachemesh_command.quick",), ("gevent",)),
    Rule(
        "dashboard",
        ("cachemesh", "cachemesh.core", "cachemesh.discovery", "cachemesh.serving"),
        ("flask", "werkzeug", "jinja2", "markupsafe", "gunicorn", "gevent", "click"),
    ),
)
TYPING_ONLY = {"typing_extensions", "_typeshed"}


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    _module_name(path): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def _imports(name: str, path: Path, tree: ast.AST) -> Iterator[str]:
    """Every module a module imports, anywhere in its code, relative ones spelt out."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner in MODULES else base


def _within(module: str, part: str) -> bool:
    return module == part or module.startswith(f"{part}.")


def _rule_for(module: str) -> Rule | None:
    """The rule of the longest part that holds the module; a bare ``cachemesh`` is only itself."""
    rules = [
        rule
        for rule in RULES
        if (module == "cachemesh" if rule.part == "cachemesh" else _within(module, rule.part))
    ]
    return max(rules, key=lambda rule: len(rule.part), default=None)


def _violations(module: str, path: Path, tree: ast.AST) -> list[str]:
    rule = _rule_for(module)
    if rule is None:
        return [f"{module} belongs to no part of docs/architecture.md"]
    found = []
    for imported in _imports(module, path, tree):
        top = imported.split(".")[0]
        if top in PACKAGES:
            allowed = any(
                imported == part if part in PACKAGES else _within(imported, part)
                for part in rule.ours
            ) or (rule.part != "cachemesh" and _within(imported, rule.part))
            allowed = allowed and not any(_within(imported, part) for part in rule.but)
        elif top in sys.stdlib_module_names:
            pure = any(_within(module, part) for part in PURE)
            allowed = not (pure and top in NOT_PURE)
        else:
            allowed = top in rule.others or top in TYPING_ONLY
        if not allowed:
            found.append(f"{module} imports {imported}")
    return found


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_follow_the_arrows(module: str) -> None:
    path = MODULES[module]
    assert _violations(module, path, ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.part)
def test_every_rule_has_modules(rule: Rule) -> None:
    assert any(_rule_for(module) is rule for module in MODULES)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("cachemesh.core.placement.slot_allocation", "import socket"),
        ("cachemesh.core.placement.slot_allocation", "from threading import Lock"),
        ("cachemesh.core.placement.slot_allocation", "def now():\n    import time"),
        ("cachemesh.core.placement.slot_allocation", "from ...discovery import metaserver"),
        ("cachemesh.core.placement.slot_allocation", "from cachemesh import CacheMesh"),
        ("cachemesh.core.commands.spec", "import cachemesh.core.placement.slots"),
        ("cachemesh.core.placement.slots", "from cachemesh.core.planning import plan"),
        ("cachemesh.core.resilience.retry", "from cachemesh.core.reads import read_loop"),
        ("cachemesh.core.names", "from cachemesh.core.policy import Policy"),
        ("cachemesh.transport.sync.shard", "import cachemesh.discovery.metaserver"),
        ("cachemesh.transport.sync.shard", "from cachemesh.transport.aio import shard"),
        ("cachemesh.transport.aio.shard", "from cachemesh.transport.sync import shard"),
        ("cachemesh.transport.shard_base", "from cachemesh.transport.sync import shard"),
        ("cachemesh.sync.client", "from cachemesh.transport.aio import shard"),
        ("cachemesh.discovery.sentinel_connection", "from cachemesh.transport import sync"),
        ("cachemesh.sync.client", "import flask"),
        ("cachemesh.sync.client", "from cachemesh.local import LocalStack"),
        ("cachemesh.sync.client", "import cachemesh.asyncio.client"),
        ("cachemesh.asyncio.client", "from cachemesh.sync.client import CacheMesh"),
        ("cachemesh._client.base", "from cachemesh.sync.client import CacheMesh"),
        ("cachemesh.local.reaper", "from cachemesh.local.pids import ProcessId"),
        ("cachemesh.cli.main", "import metaserver"),
        ("metaserver.process.config", "from dashboard import app"),
        ("metaserver.process.config", "from cachemesh.local import LocalStack"),
        ("metaserver.domain.status", "import time"),
        ("metaserver.domain.status", "import redis"),
        ("metaserver.domain.errors", "from http import HTTPStatus"),
        ("metaserver.domain.status", "from metaserver.store import Store"),
        ("metaserver.domain.status", "from metaserver.process.clock import rfc3339"),
        ("metaserver.redis_io.resp", "from metaserver.store import Store"),
        ("metaserver.store.sqlite", "from metaserver.redis_io import resp"),
        ("metaserver.failover.handover", "from metaserver.service import context"),
        ("metaserver.service.pools", "from metaserver.loops.monitor import Monitor"),
        ("metaserver.service.pools", "import flask"),
        ("metaserver.loops.monitor", "from metaserver.watch import change_hub"),
        ("metaserver.watch.change_hub", "from metaserver.redis_io import resp"),
        ("metaserver.api.app", "from metaserver.runtime import Runtime"),
        ("metaserver.runtime", "from metaserver.cli import serve"),
        ("dashboard.config", "from metaserver.store import Store"),
    ],
)
def test_a_wrong_import_is_noticed(module: str, source: str) -> None:
    assert len(_violations(module, MODULES[module], ast.parse(source))) == 1


REDIS_PYS_OWN = {"_sock", "_reader", "_writer", "_parser", "_connect"}
"""Attributes of redis-py's connections that are none of its public interface."""


@pytest.mark.parametrize("module", sorted(MODULES))
def test_redis_pys_internals_are_touched_in_the_adapter_alone(module: str) -> None:
    # The latter says why.
    if module in ("cachemesh.transport.redis_py", "cachemesh.transport.name_resolution"):
        return
    touched = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in REDIS_PYS_OWN
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    ]
    assert touched == []


def test_importing_the_client_is_light() -> None:
    """No module that `import cachemesh` reaches needs anything but redis and hiredis."""
    reached: set[str] = set()
    waiting = ["cachemesh"]
    while waiting:
        module = waiting.pop()
        if module in reached or module not in MODULES:
            continue
        reached.add(module)
        tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
        waiting += _imports(module, MODULES[module], tree)
    parts = {"cachemesh.core", "cachemesh.discovery", SYNC_BYTES, *SHARED, *SYNC}
    assert all(any(_within(module, part) for module in reached) for part in parts)
    known = {*CLIENT, *SHARED, *SYNC}
    outside = {m for m in reached if not any(_within(m, part) for part in known)}
    assert outside == {"cachemesh"}
    assert not {module for module in reached if _within(module, AIO_BYTES)}


TELL_TIME = {  # their times are told, not waited for
    "cachemesh.discovery.snapshot",  # outlives the process
    "cachemesh.cli.param_types",
    "cachemesh.cli.watchable",
}
CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "time.localtime"}


@pytest.mark.parametrize(
    "module", sorted(m for m in MODULES if _within(m, "cachemesh") and "doctor" not in m)
)
def test_nothing_waits_by_a_clock_that_can_be_set(module: str) -> None:
    """But for `cachemesh doctor`, which compares clocks."""
    if module in TELL_TIME:
        return
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not {name for name in used if any(name.endswith(clock) for clock in CLOCKS)}
    assert "from time import time" not in ast.unparse(tree)
