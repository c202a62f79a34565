"""What the pipelines of both clients do alike: queue commands, finish replies as redis-py does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import redis
from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.exceptions import ExecAbortError

from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.planning.pipeline_parts import Stack
from cachemesh.core.resilience.pipeline_part import holds_error
from cachemesh.transport.redis_py import is_open


class PipelineBase:
    """A pipeline as far as it does no I/O; goes before redis-py's class among the bases.

    redis-py's pipeline is a client as well, whose methods make pipelines and subscriptions from
    ``connection_pool``. That is one shard's once a key is watched, so they are made by the
    CacheMesh here.
    """

    _mesh: Any
    _encodes: bool
    command_stack: Any
    explicit_transaction: bool
    watching: bool
    immediate_execute_command: Any

    def pipeline(self, transaction: bool | None = None, shard_hint: str | None = None) -> Any:
        """Return another pipeline of the client."""
        return self._mesh.pipeline(transaction, shard_hint)

    def pubsub(self, **options: Any) -> Any:
        """As the client's method."""
        return self._mesh.pubsub(**options)

    def monitor(self) -> Any:
        """As the client's method."""
        return self._mesh.monitor()

    def client(self) -> Any:
        """As the client's method."""
        return self._mesh.client()

    def client_setname(self, name: str, **options: Any) -> Any:
        """As the client's method."""
        return self.execute_command(*self._mesh._named(("CLIENT SETNAME", name)), **options)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Queue a command, or send it now while watching."""
        if self._encodes:
            args = self._mesh.encoded(args)
        if self.explicit_transaction or not (self.watching or args[0] == "WATCH"):
            self.command_stack.append((args, options))
            return self
        return self.immediate_execute_command(*args, **options)


def require_watching(pipeline: Any) -> None:
    """Refuse to go on once the connection that watches is closed, as by closing the client.

    redis-py would connect anew and run the transaction with nothing watched.

    Raises:
        redis.WatchError: it is closed; nothing is watched any more.
    """
    connection = pipeline.connection
    if pipeline.watching and connection is not None and not is_open(connection):
        pipeline.watching = False  # there is nothing to UNWATCH
        raise redis.WatchError(
            "The connection was closed while it watched keys, which may have changed since; watch "
            "them anew"
        )


def finished(replies: Sequence[Any], stack: Stack, callbacks: Any, annotate: Any) -> list[Any]:
    """Return replies as redis-py's pipelines do; errors stay in the list as exceptions.

    Args:
        replies: one for each command.
        stack: the commands, as they were queued.
        callbacks: the client's response callbacks.
        annotate: redis-py's method that makes an error name its command.

    Raises:
        redis.ResponseError: the server refused a transaction; the command that was wrong is named.
    """
    failed = holds_error(replies)
    if failed and any(isinstance(reply, ExecAbortError) for reply in replies):
        for number, reply in enumerate(replies, 1):
            if isinstance(reply, redis.ResponseError) and not isinstance(reply, ExecAbortError):
                annotate(reply, number, stack[number - 1][0])
                raise reply
    known = {name: callbacks.get(name) for name in {args[0] for args, _ in stack}}
    if not failed and not any(known.values()):
        return list(replies)
    results = []
    for reply, (args, options) in zip(replies, stack, strict=True):
        callback = known[args[0]]
        if failed and isinstance(reply, Exception):
            refused = isinstance(reply, redis.ResponseError)
            results.append(options.get(EMPTY_RESPONSE, reply) if refused else reply)
        elif callback is not None:
            results.append(callback(reply, **for_callback(options)))
        else:
            results.append(reply)
    return results


def raise_first(results: Sequence[Any], stack: Stack, annotate: Any) -> None:
    """Raise the first error among the results, with its command named; arguments as `finished`."""
    if not holds_error(results):
        return
    for number, result in enumerate(results, 1):
        if isinstance(result, Exception):
            if isinstance(result, redis.ResponseError):
                annotate(result, number, stack[number - 1][0])
            raise result


def unrouted(shard: str) -> ShardUnavailableError:
    """Return the error for a part of a pipeline that has not run, as a resize began."""
    return ShardUnavailableError(
        f"Shard {shard!r}: a resize began before the pipeline was sent, and commands without keys "
        "are among those for the shard; none of them has run: send the pipeline again"
    )


def for_callback(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a call that its response callback takes."""
    return {n: v for n, v in options.items() if n not in (NEVER_DECODE, EMPTY_RESPONSE, "keys")}
