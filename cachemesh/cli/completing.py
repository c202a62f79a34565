"""What a shell proposes for names: those of the deployment that the command line leads to.

The metaserver is asked as the command itself would ask it. Whatever is wrong, nothing is proposed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

import click
from click.shell_completion import CompletionItem

from cachemesh.cli.context import CommandContext, CommonOptions
from cachemesh.cli.context_file import context_path, read_contexts
from cachemesh.core.errors import CacheMeshError
from cachemesh.core.pool.settings import SETTINGS

_WITHIN = 2.0  # seconds for the metaserver: somebody waits who has pressed a key

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _complete(names: Callable[[CommandContext], Iterable[tuple[str, str]]]) -> Complete:
    """Return a completion of the names, each with what it is, that a `CommandContext` leads to."""

    def complete(
        called: click.Context, _parameter: click.Parameter, begun: str
    ) -> list[CompletionItem]:
        try:
            found = list(names(_context_of(called)))
        except (CacheMeshError, click.ClickException):
            return []
        return [CompletionItem(name, help=what) for name, what in found if name.startswith(begun)]

    return complete


def _context_of(called: click.Context) -> CommandContext:
    """Return the context of the command line so far; its commands have not run."""
    given, at = CommonOptions(), called
    while True:
        known: dict[str, Any] = {f.name: at.params.get(f.name) for f in fields(CommonOptions)}
        if not isinstance(known["pool"], str):  # `token create` takes several
            known["pool"] = None
        given = given.over(CommonOptions(**known))
        if at.parent is None:
            return CommandContext(given)
        at = at.parent


def _get(context: CommandContext, path: str) -> Any:
    return context.metaserver.request("GET", path, timeout=_WITHIN)


def _pools(context: CommandContext) -> Iterable[tuple[str, str]]:
    for each in _get(context, "/v1/pools")["pools"]:
        yield each["pool"], each["health"]


def _shards(context: CommandContext) -> Iterable[tuple[str, str]]:
    for each in _get(context, context.path("shards"))["shards"]:
        yield each["name"], each["state"]


def _replicas(context: CommandContext) -> Iterable[tuple[str, str]]:
    for shard in _get(context, context.path("shards"))["shards"]:
        for each in shard["replicas"]:
            yield each["address"], f"replica of {shard['name']}"


def _sentinels(context: CommandContext) -> Iterable[tuple[str, str]]:
    for each in _get(context, context.path("sentinels"))["sentinels"]:
        yield each["address"], "up" if each["up"] else "down"


def _clients(context: CommandContext) -> Iterable[tuple[str, str]]:
    for each in _get(context, context.path("clients"))["clients"]:
        yield each["client"], each["app"] or each["host"] or ""


def _tokens(context: CommandContext) -> Iterable[tuple[str, str]]:
    for each in _get(context, "/v1/tokens")["tokens"]:
        yield each["name"], each["role"]


def _contexts(_context: CommandContext) -> Iterable[tuple[str, str]]:
    for name, each in read_contexts(context_path(os.environ)).deployments.items():
        yield name, each.url


def _settings(_context: CommandContext) -> Iterable[tuple[str, str]]:
    for name, setting in SETTINGS.items():
        yield f"{name}=", f"default {setting.default}"


pools = _complete(_pools)
shards = _complete(_shards)
replicas = _complete(_replicas)
sentinels = _complete(_sentinels)
clients = _complete(_clients)
tokens = _complete(_tokens)
contexts = _complete(_contexts)
settings = _complete(_settings)
