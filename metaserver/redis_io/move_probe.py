"""Whether keys can move from one shard to another: a test key does, as all others would.

    SET of a key that nobody has --> a pull of it, as of any other --> UNLINK on both sides

A reason that stays until somebody mends it is told from one that may pass: without the first keys
move sooner or later. The key lives for seconds, should it not be possible to remove it.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import redis

from cachemesh.core.hidden_secrets import hide
from cachemesh.core.migration.pull import (
    Cut,
    Link,
    NotReachedError,
    Pull,
    PullError,
    SlowTransferError,
    TargetRefusedError,
)
from metaserver.domain.migration_time import MoveSpeed
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection, reason_of
from metaserver.redis_io.client_list import LISTED
from metaserver.redis_io.fence import replicas_of_master
from metaserver.redis_io.pull_link import link_to

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

PREFIX = "cachemesh:probe:"
"""What the name of a test key begins with, before 32 random hex digits."""

_LIVES_MS = 10_000  # after which a test key is gone by itself
_TRIES = 10  # of reaching a target: each blocks the source for `IDLE_MS` at most
_PAUSE = 0.05  # seconds between two of them, in which the source serves
_MEASURED = 0.1  # seconds for which a speed is measured
_ROUND = 0.01  # seconds that a round may take without being the largest
_FIRST, _LARGEST = 16, 128  # test keys at once
_AT_ONCE = 256 * 1024  # bytes of their values, unless the first round has more
_UNKNOWN = re.compile(r"unknown command ['`]?([A-Za-z]+)")


class MoveImpossibleError(redis.RedisError):
    """No key can move between two shards until somebody mends what the message says."""


class MoveNotTriedError(redis.RedisError):
    """Whether keys can move between two shards is not known: the message says why."""


@dataclass
class MoveProbe:
    """Connections to the masters of shards, for one thread; a context manager closes them.

    Args:
        masters: shard -> its master, as other shards reach it.
    """

    config: Config
    networks: AllowedNetworks
    masters: Mapping[str, str]
    _connections: dict[str, BoundedConnection] = field(default_factory=dict)
    _replicas: dict[str, int] = field(default_factory=dict)
    _dead: dict[str, str] = field(default_factory=dict)  # shard -> why it does not answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.close()

    def try_move(self, source: str, target: str) -> None:
        """Move a test key from one shard to another.

        Raises:
            MoveImpossibleError, MoveNotTriedError
        """
        link = self.link(source, target)
        with self.keys(source, target, 1, b"") as keys:
            if self.config.redis_auth.tls is not None and link.login is not None:
                self._again(source, target, lambda: self._knock(source, link, keys))
            self._again(source, target, lambda: self._pull(source, target, Pull(link, keys)))

    def speed(self, source: str, target: str, value: int) -> MoveSpeed:
        """Return how fast test keys move from one shard to another: the quickest of some rounds.

        Each round has twice as many keys as the one before, as long as it does not take long.

        Args:
            value: bytes of each key's value.

        Raises:
            MoveImpossibleError, MoveNotTriedError, NotReachedError, SlowTransferError
        """
        link, count, quickest = self.link(source, target), _FIRST, 0.0
        end = time.monotonic() + _MEASURED
        while True:
            with self.keys(source, target, count, secrets.token_bytes(value)) as keys:
                begun = time.monotonic()
                self._pull(source, target, Pull(link, keys))
                took = max(1e-6, time.monotonic() - begun)
            quickest = max(quickest, count / took)
            if time.monotonic() >= end:
                return MoveSpeed(source, target, quickest, value)
            if took < _ROUND and 2 * count * value <= _AT_ONCE:
                count = min(2 * count, _LARGEST)

    def _again(self, source: str, target: str, reach: Callable[[], None]) -> None:
        """Reach a target, in one of several attempts: a machine may be busy for a moment."""
        for attempt in range(1, _TRIES + 1):
            try:
                reach()
                return
            except (NotReachedError, SlowTransferError) as error:
                if attempt == _TRIES:
                    raise self._not_reached(source, target) from error
                time.sleep(_PAUSE)

    def link(self, source: str, target: str) -> Link:
        """Return how keys get from one shard to another.

        The metaserver itself connects to the target first: it sends a login to no address that it
        may not connect to.

        Raises:
            MoveNotTriedError: one of the shards does not answer.
        """
        needed = [min(1, self._replicas_of(shard)) for shard in (source, target)]
        return link_to(self.masters[target], self.config, *needed)

    @contextlib.contextmanager
    def keys(
        self, source: str, target: str, count: int, value: bytes
    ) -> Iterator[tuple[bytes, ...]]:
        """Have test keys at the source for the block, and then on neither side.

        Raises:
            MoveImpossibleError, MoveNotTriedError
        """
        name = PREFIX + secrets.token_hex(16)
        keys = (
            tuple(f"{name}:{n}".encode() for n in range(count)) if count > 1 else (name.encode(),)
        )
        made = [("SET", key, value, "PX", _LIVES_MS, "NX") for key in keys]
        try:
            # What else the move of a shard asks for: to be refused now, and not half-way.
            replies = self._ask(source, [("TIME",), ("SCAN", 0, "COUNT", 1), *made])
            if None in replies:
                raise MoveNotTriedError(f"shard {source} has a key of the name of a test key")
            yield keys
        finally:
            self._remove(source, keys)
            self._remove(target, keys)

    def _pull(self, source: str, target: str, pull: Pull | Cut | None) -> None:
        """Pull keys to their target.

        Raises:
            MoveImpossibleError, MoveNotTriedError
            NotReachedError, SlowTransferError: the source did not get through to the target.
        """
        while pull is not None:
            asked = pull.ask()
            shard = source if asked.side == "source" else target
            began = time.monotonic()
            replies = self._ask(shard, asked.commands, raises=False)
            try:
                following = pull.answered(replies, time.monotonic() - began)
            except (NotReachedError, SlowTransferError):
                raise
            except TargetRefusedError as error:
                raise MoveImpossibleError(f"{self._named(target)}: {error}") from error
            except PullError as error:
                raise MoveNotTriedError(str(error)) from error
            except redis.RedisError as error:
                raise self._refusal(shard, error) from error
            if following is None and not (isinstance(pull, Pull) and pull.step == "remove"):
                raise MoveNotTriedError(f"shard {source} did not keep the test key")
            pull = following

    def _knock(self, source: str, link: Link, keys: Sequence[bytes]) -> None:
        """Have the source speak to the target without a login, where it has to be encrypted.

        A source that speaks plain text to a target with TLS would send the login as plain text.
        """
        (reply,) = self._ask(source, [replace(link, login=None).migrate(keys)], raises=False)
        if isinstance(reply, redis.RedisError) and str(reply).startswith("IOERR"):
            raise NotReachedError("the source did not reach the target") from reply

    def _not_reached(self, source: str, target: str) -> MoveImpossibleError:
        hint = ""
        if self.config.redis_auth.tls is not None:
            hint = (
                f"; it has to speak TLS there, and does so with tls-cluster yes "
                f"({self._speaks_tls(source)})"
            )
        return MoveImpossibleError(
            f"{self._named(source)} does not reach {self._named(target)}{hint}"
        )

    def _speaks_tls(self, shard: str) -> str:
        (reply,) = self._ask(shard, [("CONFIG", "GET", "tls-cluster")], raises=False)
        if isinstance(reply, list) and reply[1:] in ([b"yes"], [b"no"]):
            return f"it is {reply[1].decode()}"
        return "what it is, the metaserver may not ask"

    def _replicas_of(self, shard: str) -> int:
        """Return how many replicas a shard has.

        Raises:
            MoveNotTriedError: nothing tells its master, or that is none.
        """
        if shard not in self._replicas:
            (role,) = self._ask(shard, [("ROLE",)])
            try:
                self._replicas[shard] = replicas_of_master(self._connection(shard), role)
            except redis.RedisError as error:
                raise MoveNotTriedError(reason_of(error)) from error
        return self._replicas[shard]

    def _ask(
        self, shard: str, commands: Sequence[Sequence[Any]], *, raises: bool = True
    ) -> list[Any]:
        """Return the replies to commands on database 0.

        Args:
            raises: whether an error reply is raised; else it is returned.

        Raises:
            MoveImpossibleError, MoveNotTriedError
        """
        if shard in self._dead:
            raise MoveNotTriedError(self._dead[shard])
        if shard not in self.masters:
            raise MoveNotTriedError(f"nothing tells the master of shard {shard}")
        try:
            selected, *replies = self._connection(shard).call_all([("SELECT", 0), *commands])
        except redis.RedisError as error:
            self._dead[shard] = f"{self._named(shard)}: {reason_of(error)}"
            raise MoveNotTriedError(self._dead[shard]) from error
        for reply in (selected, *(replies if raises else ())):
            if isinstance(reply, redis.RedisError):
                raise self._refusal(shard, reply) from reply
        return replies

    def _refusal(self, shard: str, error: redis.RedisError) -> redis.RedisError:
        """Return an error reply as what it means for the move."""
        hide(error, self.config.redis_auth.password)
        text, unknown = reason_of(error), _UNKNOWN.search(str(error))
        if unknown is not None:
            command = unknown[1].upper()
            return MoveImpossibleError(
                f"{self._named(shard)} has no command {command}: it is renamed, or not allowed"
            )
        if isinstance(error, redis.exceptions.NoPermissionError):
            return MoveImpossibleError(f"{self._named(shard)} forbids it to the metaserver: {text}")
        return MoveNotTriedError(f"{self._named(shard)}: {text}")

    def _remove(self, shard: str, keys: Sequence[bytes]) -> None:
        """Remove test keys, by either command that there may be; else they expire."""
        for command in ("UNLINK", "DEL"):
            with contextlib.suppress(redis.RedisError):
                self._ask(shard, [(command, *keys)])
                return

    def _connection(self, shard: str) -> BoundedConnection:
        if shard not in self._connections:
            auth, timeout = self.config.redis_auth, self.config.instance_timeout
            address = self.masters[shard]
            self._connections[shard] = BoundedConnection(
                address, self.networks, auth, timeout, LISTED
            )
        return self._connections[shard]

    def _named(self, shard: str) -> str:
        return f"shard {shard} ({self.masters.get(shard, 'no master known')})"
