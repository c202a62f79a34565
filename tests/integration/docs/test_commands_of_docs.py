"""The commands in README and docs do what the pages say, against a stack of their own."""

from __future__ import annotations

import lzma
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from cachemesh import CacheMesh
from cachemesh.core.errors import MetaserverError
from cachemesh.core.names import parse_address
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from tests.support.blocks_elsewhere import elsewhere
from tests.support.shell_blocks import Shell, ShellBlock, all_blocks
from tests.support.waiting import AT_MOST, until

NAMES = ("cache-0", "cache-1", "cache-2")
KEYS = 18_000  # a plan looks at all that a shard has of them
POOL = "/v1/pools/cache"


@dataclass
class World:
    """The machines of the docs, as this one has them.

    Attributes:
        stack: three shards of a master and a replica, two masters that serve no pool.
        shell: whoever types.
    """

    stack: LocalStack
    shell: Shell

    @property
    def api(self) -> MetaserverClient:
        """The metaserver, for what the page does not say."""
        return MetaserverClient(self.stack.info["metaservers"], token=self.stack.token)

    def master(self, number: int) -> Any:
        """Return a client of a shard's master."""
        address = parse_address(self.stack.master_of(f"cache-{number}"))
        return redis.Redis(address.host, address.port)

    def fill(self) -> None:
        """Have some keys in the pool, one of them big."""
        with CacheMesh.from_url(self.stack.info["url"], token=self.stack.token) as client:
            client.mset({f"key:{number}": "x" * 100 for number in range(KEYS)})

    def rest(self) -> None:
        """Wait until nothing is under way, and all is well."""
        if self._status()["resize"] is not None:
            self.api.request("PATCH", f"{POOL}/resize", {"keys_per_second": 0, "paused": False})
        until(lambda: self._status()["resize"] is None)
        until(lambda: not self._status()["sweeps"])
        until(lambda: self._status()["health"] == "ok")

    def tidy(self) -> None:
        """Take away the shards that a block has added."""
        self.rest()
        for shard in self._status()["shards"]:
            if shard["name"] not in NAMES:
                query = {"strategy": "drop"}
                self.api.request("DELETE", f"{POOL}/shards/{shard['name']}", query=query)
                self.rest()
        self._empty(self.stack.info["spares"])

    def delete_pool(self) -> None:
        """Delete the pool, if there is one, once nothing is under way; and all keys."""
        try:
            self.rest()
        except MetaserverError:
            return
        self.api.request("DELETE", POOL)
        self._empty((*self.stack.info["shards"], *self.stack.info["spares"]))

    def _empty(self, shards: Iterable[Mapping[str, str]]) -> None:
        for shard in shards:
            address = parse_address(shard["master"])
            with redis.Redis(address.host, address.port) as server:
                server.flushall()

    def _status(self) -> Any:
        return self.api.request("GET", f"{POOL}/status")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("operator")
    (directory / ".config" / "cachemesh").mkdir(parents=True)
    with LocalStack(spares=2, dashboard=False, maxmemory=1024) as stack:
        token = stack.token
        for name in (".config/cachemesh/token", "live.token", "test.token", "admin-1.token"):
            (directory / name).write_text(token)
            (directory / name).chmod(0o600)
        shell = Shell(directory, stack.info["env"], _stand_for(stack), unwell=True)
        yield World(stack, shell)


def _stand_for(stack: LocalStack) -> dict[str, str]:
    info = stack.info
    masters = [each["master"] for each in (*info["shards"], *info["spares"])]
    metaserver, sentinels = info["metaservers"][0], info["sentinels"]
    return {
        # The clone of the tests is installed already, and is not on PyPI.
        "pip install 'cachemesh[cli]'": "true",
        **{f"{name}:7700": metaserver for name in ("meta1", "meta2", "test1")},
        "10.0.0.1:6379": masters[0],
        "10.0.0.2:6379": masters[1],
        "10.0.0.9:6379": masters[0],
        "10.0.0.4:6379": masters[3],
        "10.0.0.10:6379": masters[4],
        "10.0.0.1:26379": sentinels[0],
        "10.0.0.9:26379": sentinels[0],
        # A test has fewer keys than an operator, and a resize is to be under way for some commands.
        "throttle 5000": "throttle 20",
        "--keys-per-second 20000": "--keys-per-second 20",
        # docs/zookeeper.md has all on one machine.
        **{f"127.0.0.1:{port}": metaserver for port in (7701, 7702, 7703)},
        "127.0.0.1:6379": masters[0],
        "127.0.0.1:6380": masters[1],
        **{f"127.0.0.1:{26379 + n}": sentinels[n] for n in range(3)},
    }


Setting = Callable[[World], AbstractContextManager[object]]


@contextmanager
def keys_are_there(world: World) -> Iterator[None]:
    world.fill()
    yield


@contextmanager
def two_shards_and_a_big_key(world: World) -> Iterator[None]:
    """Docs show a pool of two shards: one has more keys than a plan looks at, one a big key."""
    url, token = world.stack.info["url"], world.stack.token
    with two_shards(world, {"strategy": "slots"}), CacheMesh.from_url(url, token=token) as client:
        orders = {f"order:{number}": "x" * 100 for number in range(20_000)}
        client.mset({key: o for key, o in orders.items() if client.shard_for(key) == "cache-0"})
        client.set("report:monthly", b"x" * 3_600_000)
        yield


@contextmanager
def keys_move(world: World) -> Iterator[None]:
    """Keys move to a shard that is being added, and will for minutes."""
    world.fill()
    spare = world.stack.info["spares"][0]["master"]
    body = {"name": "cache-3", "master": spare, "strategy": "move", "keys_per_second": 20}
    world.api.request("POST", f"{POOL}/shards", body)
    yield


@contextmanager
def failed_over(world: World) -> Iterator[None]:
    """The master of cache-0 is another one then, and is to be the same again for other blocks."""
    yield
    world.rest()
    world.api.request("POST", f"{POOL}/shards/cache-0/failover", {}, timeout=AT_MOST)


@contextmanager
def settings_are_wrong(world: World) -> Iterator[None]:
    """What docs/doctor.md shows is wrong at the servers."""
    wrong = {0: {"min-replicas-to-write": 2, "timeout": 300}, 1: {"timeout": 300}}
    for number, settings in wrong.items():
        with world.master(number) as master:
            master.config_set(*[each for pair in settings.items() for each in pair])
    try:
        yield
    finally:
        for number, settings in wrong.items():
            with world.master(number) as master:
                master.config_set(*[each for name in settings for each in (name, 0)])


@contextmanager
def traces_are_there(world: World) -> Iterator[None]:
    ids = struct.pack(">1000i", *(number % 100 for number in range(1000)))
    (world.shell.directory / "shop.trace.xz").write_bytes(lzma.compress(ids))
    names = "".join(f"page:{number % 100}\n" for number in range(1000))
    (world.shell.directory / "keys.txt").write_text(names)
    yield


@contextmanager
def no_pool(world: World) -> Iterator[None]:
    """There is none yet; what the block makes is taken away."""
    world.delete_pool()
    yield
    world.delete_pool()


@contextmanager
def two_shards(world: World, placement: dict[str, str]) -> Iterator[None]:
    world.delete_pool()
    info = world.stack.info
    body = {
        "pool": "cache",
        "shards": [{"name": each["name"], "master": each["master"]} for each in info["shards"][:2]],
        "sentinels": info["sentinels"],
        **placement,
        "allow_nonempty": True,
    }
    world.api.request("POST", "/v1/pools", body)
    world.rest()
    world.fill()
    yield
    world.delete_pool()


def as_twemproxy(world: World) -> AbstractContextManager[None]:
    """The pool places keys as twemproxy does, and has some."""
    return two_shards(world, {"strategy": "ketama", "hash": "fnv1a_64"})


# Blocks by page and first line: what there has to be before.
SETTINGS: dict[tuple[str, str], Setting] = {
    ("docs/cli.md", "cachemesh shard failover cache-0 --dry-run"): failed_over,
    ("docs/cli.md", "cachemesh replay shop.trace.xz"): traces_are_there,
    ("docs/resizing.md", "cachemesh migration pause"): keys_move,
    ("docs/doctor.md", "cachemesh doctor; echo $?"): settings_are_wrong,
}
AT_THE_END: dict[tuple[str, str], Setting] = {
    ("docs/placement.md", "cachemesh pool create cache --placement ketama"): no_pool,
    ("docs/resizing.md", "cachemesh pool rebalance --placement slots --dry-run"): as_twemproxy,
    ("docs/resizing.md", "cachemesh shard add cache-3 10.0.0.4:6379 --dry-run"): (
        two_shards_and_a_big_key
    ),
    ("docs/migrating.md", "cachemesh pool create cache --shard cache-0=10.0.0.9:6379"): no_pool,
    ("docs/zookeeper.md", "export CACHEMESH_URL=cachemesh://127.0.0.1:7701"): no_pool,
}


def setting_of(block: ShellBlock, settings: dict[tuple[str, str], Setting]) -> Setting | None:
    """Return what a block needs, by the page and the beginning of its first line."""
    for (page, first), setting in settings.items():
        if block.page == page and block.first.startswith(first):
            return setting
    return None


HERE = [block for block in all_blocks() if elsewhere(block) is None]
FIRST = [block for block in HERE if setting_of(block, AT_THE_END) is None]
LAST = [block for block in HERE if setting_of(block, AT_THE_END) is not None]


def name_of(block: ShellBlock) -> str:
    return f"{block.page}:{block.line}"


@pytest.mark.parametrize("block", FIRST, ids=name_of)
def test_it_does_what_the_page_says(block: ShellBlock, world: World) -> None:
    setting = setting_of(block, SETTINGS)
    with setting(world) if setting else nullcontext():
        world.shell.run(block)
    world.tidy()


@pytest.mark.parametrize("block", LAST, ids=name_of)
def test_it_does_so_where_there_is_no_pool(block: ShellBlock, world: World) -> None:
    setting = setting_of(block, AT_THE_END)
    assert setting is not None
    with setting(world):
        world.shell.run(block)


def test_no_client_is_left_by_them() -> None:
    until(lambda: not [each for each in threading.enumerate() if "cachemesh-" in each.name])
