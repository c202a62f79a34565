"""`cachemesh store`: backs up what the metaservers keep, restores it, copies it to others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from cachemesh.cli.change import dry_run_option, end_dry_run
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext, metaservers_at
from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.cli.output import emit, say
from cachemesh.cli.private_file import replacing
from cachemesh.cli.tables import Column, show, table
from cachemesh.core.json_text import NotJsonError, decode_json
from cachemesh.core.plurals import counted
from cachemesh.discovery.bearer_token import find_token
from cachemesh.discovery.metaserver import MetaserverClient

_COLUMNS = (
    "kind",
    Column("name", fit="middle"),
    "outcome",
    "version>",
    Column("detail", fit="end"),
)
_TIMEOUT_S = 30.0


@click.group(no_args_is_help=False)
def store() -> None:
    """What the metaservers keep: pools and tokens."""


@store.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@with_context
def backup(context: CommandContext, file: Path) -> None:
    """Write every pool and token to FILE, which only you can read.

    Of the tokens it has no text. An earlier FILE is replaced once the new one is complete.
    """
    saved = context.metaserver.request("GET", "/v1/backup")
    try:
        with replacing(file) as written:
            json.dump(saved, written, indent=1)
    except OSError as error:
        raise CommandError(
            f"file {file}",
            error.strerror or type(error).__name__,
            "name a file in a directory that you can write to",
        ) from error
    told = {
        "file": str(file),
        "taken": saved["taken"],
        "pools": {each["document"]["pool"]: each["document"]["version"] for each in saved["pools"]},
        "tokens": len(saved["tokens"]),
    }
    emit(context.output, told, lambda: click.echo(_summary(told)))


@store.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@dry_run_option
@with_context
def restore(context: CommandContext, file: Path, dry_run: bool) -> None:
    """Create the pools and tokens of the backup FILE that the metaservers lack.

    FILE may also be a snapshot that a client keeps (in ~/.local/state/cachemesh, unless told
    otherwise): then its pool is created.

    What is there already stays as it is. Versions rise above those of the backup, so that running
    clients follow. Sentinels need not be told anything.
    """
    try:
        saved = decode_json(file.read_bytes())
    except (OSError, NotJsonError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise CommandError(
            f"file {file}",
            reason,
            "give a file that `cachemesh store backup`, or a client, has written",
        ) from error
    _restore(context, context.metaserver, saved, dry_run)


@store.command()
@click.option(
    "--to",
    "target",
    required=True,
    metavar="URL",
    help="The metaservers to copy to: cachemesh://HOST:PORT[,HOST:PORT], or cachemeshs://.",
)
@click.option(
    "--to-token-file",
    required=True,
    type=click.Path(dir_okay=False),
    help="File with an admin token of the metaservers to copy to.",
)
@dry_run_option
@with_context
def copy(context: CommandContext, target: str, to_token_file: str, dry_run: bool) -> None:
    """Copy every pool and token to metaservers with another store, while apps run.

    Then give apps the new addresses beside the old ones, and stop the old metaservers. Make no
    changes in between: they would stay behind.
    """
    there = _metaservers(target, to_token_file)
    saved = context.metaserver.request("GET", "/v1/backup")
    _restore(context, there, saved, dry_run)
    after = context.metaserver.request("GET", "/v1/backup")
    if not dry_run and after["pools"] != saved["pools"]:
        raise CommandError(
            "store copy",
            "a pool was changed while it was copied",
            "delete the copied pool at the target, and copy again while nobody makes changes",
        )


def _metaservers(url: str, token_file: str) -> MetaserverClient:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("cachemesh", "cachemeshs") or not parts.netloc or "@" in parts.netloc:
        raise CommandError(
            "--to",
            "it does not name metaservers, or names more than that",
            "write cachemesh://HOST:PORT[,HOST:PORT], or cachemeshs:// for TLS",
            ExitCode.USAGE,
        )
    return metaservers_at(parts, find_token(None, token_file))


def _restore(
    context: CommandContext, metaserver: MetaserverClient, saved: object, dry_run: bool
) -> None:
    body = {"backup": saved, "dry_run": dry_run}
    done = metaserver.request("POST", "/v1/restore", body, timeout=_TIMEOUT_S)
    rows = [
        [
            item["kind"],
            item["name"],
            item["outcome"],
            "-" if item["version"] is None else str(item["version"]),
            item["detail"],
        ]
        for item in done["items"]
    ]
    emit(context.output, done, lambda: show(table(_COLUMNS, rows), wide=context.wide))
    restored = [item for item in done["items"] if item["outcome"] == "restored"]
    if dry_run:
        end_dry_run(has_changes=bool(restored))
    pools = sum(item["kind"] == "pool" for item in restored)
    say(
        f"restored {counted(pools, 'pool')} and {counted(len(restored) - pools, 'token')}; "
        "see: cachemesh pool list"
    )


def _summary(told: Mapping[str, Any]) -> str:
    pools = ", ".join(f"{name} at version {version}" for name, version in told["pools"].items())
    return f"{told['file']}: {pools or 'no pool'}, {counted(told['tokens'], 'token')}"
