"""`cachemesh apply`: makes the change that a dry run has planned."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from cachemesh.cli.change import ChangeFlags, PlannedChange, carry_out, change_options
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext, about_pool
from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.core.errors import InvalidDocumentError, MetaserverError
from cachemesh.core.json_text import NotJsonError, decode_json
from cachemesh.core.names import NAME_PATTERN, check_name

_POOLS = "/v1/pools"
_SHARD = f"/shards/{NAME_PATTERN.strip('^$')}"
_SENTINEL = "/sentinels/[A-Za-z0-9._%-]+"
_BELOW_POOL = {
    "POST": "/shards|/sentinels",
    "PATCH": f"/settings|/placement|{_SHARD}",
    "DELETE": f"|{_SHARD}|{_SENTINEL}",
}
"""Method -> what follows the path of the pool, in the requests of changes that are planned."""
_GUARDS = frozenset({"dry_run", "version"})  # which `carry_out` sets


class _NoPlanError(ValueError):
    """What was read is no plan; the message says why."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@change_options
@with_context
def apply(context: CommandContext, file: Path, dry_run: bool, yes: bool, wait: float) -> None:
    """Make the change that FILE has the plan of; - is standard input.

    FILE holds what a command that changes a pool has printed with `--dry-run -o json`. The change
    is made only if the pool is still at the version that it was planned for.
    """
    try:
        pool, version, change = _plan(sys.stdin.buffer.read() if str(file) == "-" else _bytes(file))
    except (_NoPlanError, InvalidDocumentError) as error:
        raise CommandError(
            f"plan {file}",
            str(error),
            "give what a command that changes a pool has printed with --dry-run -o json",
            ExitCode.USAGE,
        ) from error
    if context.pool_or_none not in (None, pool):
        raise CommandError(
            f"plan {file}",
            f"it is for pool {pool}, and the command is about pool {context.pool}",
            f"add --pool {pool} if that is the pool to change",
            ExitCode.USAGE,
        )
    try:
        carry_out(about_pool(context, pool), change, ChangeFlags(dry_run, yes, wait), version)
    except MetaserverError as error:
        if error.code != "version-conflict":
            raise
        raise CommandError(
            f"plan {file}",
            f"the pool has changed since: {error.detail}",
            "plan again with --dry-run -o json, and look at the new plan",
            ExitCode.NOT_FOUND_OR_CONFLICT,
        ) from error


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _NoPlanError(error.strerror or type(error).__name__) from error


def _plan(text: bytes) -> tuple[str, int, PlannedChange]:
    """Return the pool of a plan, the version that it is for, and its change.

    Raises:
        _NoPlanError, InvalidDocumentError: no dry run prints this.
    """
    try:
        plan = decode_json(text)
    except NotJsonError as error:
        raise _NoPlanError(f"it is {error}") from error
    if not isinstance(plan, Mapping) or plan.get("dry_run") is not True:
        raise _NoPlanError("it is no plan of a dry run")
    pool, version = check_name("pool", plan.get("pool")), plan.get("version_before")
    if not isinstance(version, int) or isinstance(version, bool):
        raise _NoPlanError("it does not tell the pool's version")
    return pool, version, _change(pool, plan.get("change"))


def _change(pool: str, kept: object) -> PlannedChange:
    """Return the change of a plan, which is a request that such a plan can have.

    Raises:
        _NoPlanError: it is another request, or none.
    """
    known = {each.name for each in fields(PlannedChange)}
    if not isinstance(kept, Mapping) or set(kept) != known or not isinstance(kept["what"], str):
        raise _NoPlanError("it does not tell what the change is")
    creates = _creates(pool, kept)
    planned = (creates or _is_below(pool, kept)) and kept["versioned"] != creates and _fits(kept)
    if not planned:
        raise _NoPlanError(f"no plan for pool {pool} has the request of its change")
    return PlannedChange(**kept)


def _creates(pool: str, kept: Mapping[str, Any]) -> bool:
    body = kept["body"]
    named = body.get("pool") if isinstance(body, Mapping) else None
    return (kept["method"], kept["path"], named) == ("POST", _POOLS, pool)


def _is_below(pool: str, kept: Mapping[str, Any]) -> bool:
    """Return whether method and path are those of a change of the pool."""
    method, path = kept["method"], kept["path"]
    if not (isinstance(method, str) and method in _BELOW_POOL and isinstance(path, str)):
        return False
    form = f"{_POOLS}/{re.escape(pool)}(?:{_BELOW_POOL[method]})"
    return re.fullmatch(form, path) is not None


def _fits(kept: Mapping[str, Any]) -> bool:
    """Return whether body and query are of the form that a request of the method has."""
    body, query = kept["body"], kept["query"]
    if not isinstance(query, Mapping) or not all(map(_is_plain, query.values())):
        return False
    if kept["method"] == "DELETE":
        return body is None and _GUARDS.isdisjoint(query)
    return isinstance(body, Mapping) and _GUARDS.isdisjoint(body) and not query


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int))
