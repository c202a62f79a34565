"""Pipelines over shards: one write and one read per shard, replies in the caller's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import redis
from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.client import Pipeline as RedisPipeline

from cachemesh.core.batch import Batch, plan_batch
from cachemesh.core.errors import CrossShardError, ShardUnavailableError
from cachemesh.core.hashing import key_bytes
from cachemesh.core.plan import plan
from cachemesh.core.routing import Routes
from cachemesh.transport import adapter
from cachemesh.transport.sync import Node, exchange

if TYPE_CHECKING:
    from cachemesh.client import CacheMesh

_MULTI, _EXEC = ("MULTI",), ("EXEC",)


class Pipeline(RedisPipeline):
    """A redis-py pipeline over the shards of a pool.

    All commands on one shard behave as in redis-py, WATCH and MULTI included. Commands on several
    shards are sent to all at once; there, each shard runs its part in a MULTI of its own unless
    ``transaction`` is False, and ``transaction=True`` is refused.

    Args:
        mesh: the client.
        transaction: True: all or nothing, on one shard only. False: no MULTI. None: a MULTI for
            each shard.
    """

    def __init__(self, mesh: CacheMesh, transaction: bool | None, shard_hint: str | None) -> None:
        super().__init__(
            mesh.connection_pool, mesh.response_callbacks, transaction is not False, shard_hint
        )
        self._atomic = transaction is not False
        self._mesh = mesh
        self._one_shard_only = transaction is True
        self._home: Node | None = None

    def reset(self) -> None:  # type: ignore[override]  # redis-py's own pipeline overrides so
        """Forget what was queued and what is watched."""
        super().reset()
        self._home = None

    def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command now, on the shard that is being watched."""
        self._bind([args])
        immediate: Any = super().immediate_execute_command  # untyped in redis-py
        return immediate(*args, **options)

    def load_scripts(self) -> None:
        """Make sure that all shards know the scripts this pipeline runs."""
        for script in self.scripts:
            if not self._mesh.script_exists(script.sha)[0]:
                script.sha = self._mesh.script_load(script.script)

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Run what was queued.

        Raises:
            cachemesh.CrossShardError: a transaction over several shards; nothing was sent.
            cachemesh.ShardUnavailableError: a shard does not answer; with ``raise_on_error``
                False it stands in the list instead, for each command of that shard.
            redis.ResponseError: the first error reply, with ``raise_on_error``.
            redis.WatchError: a watched key has changed.
        """
        stack = self.command_stack
        if not stack and not self.watching:
            return []
        try:
            if self.scripts:
                self.load_scripts()
                self.scripts = set()
            commands = [args for args, _ in stack]
            if self.watching or self.explicit_transaction or self._one_shard_only:
                self._bind(commands)
                return self._in_one_shard(raise_on_error)
            routes = self._mesh.routes
            batch = plan_batch(commands, routes.placement)
            return self._over_shards(batch, routes, raise_on_error)
        finally:
            self.reset()

    def _in_one_shard(self, raise_on_error: bool) -> list[Any]:
        try:
            return super().execute(raise_on_error)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            if isinstance(error, ShardUnavailableError) or self._home is None:
                raise
            raise self._home.unavailable(None, error) from error

    def _bind(self, commands: Sequence[tuple[Any, ...]]) -> None:
        """Settle on the one shard that all keys are on.

        Raises:
            CrossShardError: they are on several, or not on the one that is watched.
        """
        routes = self._mesh.routes
        shards: dict[str, tuple[Any, ...]] = {}
        for args in commands:
            if args[0] in ("UNWATCH", "DISCARD"):
                continue
            for request in plan(args, routes.placement, key_bytes).requests:
                shards.setdefault(request.shard, args)
        if self._home is not None:
            shards.setdefault(self._home.shard, ("WATCH",))
        if len(shards) > 1:
            first, second = list(shards.items())[:2]
            raise CrossShardError(
                f"A transaction needs its keys on one shard, but {first[1][0]} goes to {first[0]} "
                f"and {second[1][0]} to {second[0]}; give the keys one hash tag, or use "
                "pipeline(transaction=False)"
            )
        if self._home is None:
            self._home = routes.nodes[next(iter(shards), routes.placement.names[0])]
            self.connection_pool = self._home.pool

    def _over_shards(self, batch: Batch, routes: Routes[Node], raise_on_error: bool) -> list[Any]:
        stack = self.command_stack
        decode = [NEVER_DECODE not in options for _, options in stack]
        wanted: dict[str, list[bool]] = {shard: [] for shard in batch.parts}
        for home, want in zip(batch.homes, decode, strict=True):
            for shard, _ in home:
                wanted[shard].append(want)
        atomic = self._atomic
        sendings = []
        for shard, part in batch.parts.items():
            packed = list(map(adapter.pack, [_MULTI, *part, _EXEC] if atomic else part))
            flags = [True, *([True] * len(part)), all(wanted[shard])] if atomic else wanted[shard]
            sendings.append((routes.nodes[shard], b"".join(packed), flags))
        replies: dict[str, Sequence[Any]] = {}
        for shard, result in zip(batch.parts, exchange(sendings), strict=True):
            count = len(batch.parts[shard])
            if isinstance(result, ShardUnavailableError):
                replies[shard] = [result] * count
            else:
                replies[shard] = _of_exec(result, count) if atomic else result
        return self._finished(batch.merge(replies), raise_on_error)

    def _finished(self, replies: list[Any], raise_on_error: bool) -> list[Any]:
        if any(isinstance(reply, redis.exceptions.ExecAbortError) for reply in replies):
            self._raise_why_aborted(replies)
        callbacks: Any = self.response_callbacks
        results = []
        for number, (reply, (args, options)) in enumerate(
            zip(replies, self.command_stack, strict=True), 1
        ):
            result = reply
            if isinstance(reply, redis.ResponseError) and EMPTY_RESPONSE in options:
                result = options[EMPTY_RESPONSE]
            elif isinstance(reply, Exception):
                if raise_on_error:
                    raise self._annotated(reply, number, args)
            elif args[0] in callbacks:
                result = callbacks[args[0]](reply, **_for_callback(options))
            results.append(result)
        return results

    def _raise_why_aborted(self, replies: list[Any]) -> None:
        for number, (reply, (args, _)) in enumerate(
            zip(replies, self.command_stack, strict=True), 1
        ):
            if isinstance(reply, redis.ResponseError) and not isinstance(
                reply, redis.exceptions.ExecAbortError
            ):
                raise self._annotated(reply, number, args)

    def _annotated(self, error: Exception, number: int, args: tuple[Any, ...]) -> Exception:
        annotate: Any = self.annotate_exception  # untyped in redis-py
        if isinstance(error, redis.ResponseError):
            annotate(error, number, args)
        return error


def _for_callback(options: Mapping[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in options.items() if n not in (NEVER_DECODE, EMPTY_RESPONSE, "keys")}


def _of_exec(replies: Sequence[Any], count: int) -> list[Any]:
    """Replies of ``count`` commands that ran between MULTI and EXEC."""
    queued, result = replies[1:-1], replies[-1]
    if isinstance(result, list):
        return result
    # EXECABORT: what was wrong stands where the command was queued; none of them has run.
    return [reply if isinstance(reply, Exception) else result for reply in queued][:count]
