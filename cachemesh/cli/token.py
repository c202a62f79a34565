"""`cachemesh token`: lists, creates, rotates and revokes the metaserver's tokens."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from cachemesh.cli import completing
from cachemesh.cli.change import confirm, dry_run_option, end_dry_run, yes_option
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.cli.output import emit, say
from cachemesh.cli.param_types import duration
from cachemesh.cli.private_file import replacing
from cachemesh.cli.tables import Column, moment, show, table
from cachemesh.cli.watchable import watchable

_POOLS = click.option(
    "--pool",
    "pools",
    metavar="NAME",
    multiple=True,
    help="It is good for this pool alone; can be given several times [all pools].",
)


@click.group(no_args_is_help=False)
def token() -> None:
    """Tokens: who may speak to the metaserver."""


@token.command("list")
@with_context
@watchable
def list_tokens(context: CommandContext) -> None:
    """List the tokens; what they are themselves is not kept anywhere."""
    data = context.metaserver.request("GET", "/v1/tokens")
    rows = [
        [
            str(entry["id"]),
            entry["name"],
            entry["role"],
            "all" if entry.get("pools") is None else ", ".join(entry["pools"]),
            moment(entry["created"]),
            moment(entry.get("expires")),
            moment(entry["last_used"]),
        ]
        for entry in data["tokens"]
    ]
    columns = (
        "id",
        Column("name", fit="middle"),
        "role",
        Column("pools", fit="middle"),
        Column("created", rank=1),
        Column("expires", rank=2),
        "last_used",
    )
    emit(context.output, data, lambda: show(table(columns, rows), wide=context.wide))


@token.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["read", "admin"]),
    required=True,
    help="read: look and watch, which is all that apps need; admin: everything.",
)
@click.option(
    "--expires-in",
    callback=duration,
    metavar="DURATION",
    help="For how long it is good, such as 12h or 90d [for ever].",
)
@click.option(
    "--output-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the token to this new file, that only you can read, instead of printing it.",
)
@dry_run_option
@partial(with_context, pool_option=_POOLS)
def create(
    context: CommandContext,
    name: str,
    role: str,
    pools: tuple[str, ...],
    expires_in: int | None,
    output_file: Path | None,
    dry_run: bool,
) -> None:
    """Make a token. It is shown this once."""
    only = pools or ((context.options.pool,) if context.options.pool else ())
    wanted: dict[str, Any] = {"name": name, "role": role}
    if only:
        wanted["pools"] = list(dict.fromkeys(only))
    if expires_in is not None:
        wanted["expires_in"] = expires_in
    if dry_run:
        limits = f" for {', '.join(only)}" if only else ""
        plan = {"dry_run": True, "summary": f"create token {name} with role {role}{limits}"}
        emit(context.output, plan, lambda: click.echo(f"plan: {plan['summary']}"))
        end_dry_run(has_changes=True)
    if output_file is None:
        made = context.metaserver.request("POST", "/v1/tokens", wanted)
        emit(context.output, made, lambda: click.echo(made["token"]))
        say(f"token {made['name']}, id {made['id']}, role {made['role']}: shown this once")
        return
    made = _create_into(context, wanted, output_file)
    emit(
        context.output,
        _without_text(made, output_file),
        lambda: click.echo(f"token {made['id']} is in {output_file}"),
    )


@token.command()
@click.argument("name", shell_complete=completing.tokens)
@click.option(
    "--overlap",
    callback=duration,
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="For how long the text from before is good too; 0s locks out at once who uses it.",
)
@click.option(
    "--output-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the new text over this file, in one step, instead of printing it. Clients that "
    "were given the file go on with the new text by themselves.",
)
@dry_run_option
@yes_option
@with_context
def rotate(
    context: CommandContext,
    name: str,
    overlap: int,
    output_file: Path | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Give a token (by NAME or id) another text. Name, role and limits stay."""
    entry = _find(context, name)
    summary = (
        f"give token {entry['name']} another text; the one from before is good for {overlap} s"
    )
    destroys = [] if overlap else [f"who uses the text of token {entry['name']} is locked out"]
    if dry_run:
        plan = {"dry_run": True, "summary": summary, "destroys": destroys}
        emit(context.output, plan, lambda: click.echo(f"plan: {summary}"))
        end_dry_run(has_changes=True)
    if destroys:
        confirm(f"rotate token {entry['name']}", destroys, yes)
    path = f"/v1/tokens/{quote(str(entry['id']), safe='')}/rotate"
    if output_file is None:
        made = context.metaserver.request("POST", path, {"overlap": overlap})
        emit(context.output, made, lambda: click.echo(made["token"]))
        say(f"token {made['name']}: shown this once; {_until(made)}")
        return
    made = _rotate_into(context, path, overlap, output_file)
    emit(
        context.output,
        _without_text(made, output_file),
        lambda: click.echo(f"token {made['name']} is in {output_file}; {_until(made)}"),
    )


@token.command()
@click.argument("name", shell_complete=completing.tokens)
@dry_run_option
@yes_option
@with_context
def revoke(context: CommandContext, name: str, dry_run: bool, yes: bool) -> None:
    """Make a token (by NAME or id) worthless at once."""
    entry = _find(context, name)
    token_id = str(entry["id"])
    destroys = [f"token {entry['name']}, role {entry['role']}: whoever uses it is locked out"]
    plan = {"dry_run": dry_run, "summary": f"revoke token {token_id}", "destroys": destroys}
    if dry_run:
        emit(
            context.output,
            plan,
            lambda: click.echo(f"plan: {plan['summary']}\ndestroys: {destroys[0]}"),
        )
        end_dry_run(has_changes=True)
    confirm(f"revoke token {token_id}", destroys, yes)
    _revoke(context, token_id)
    emit(context.output, plan, lambda: click.echo(f"done: {plan['summary']}"))


def _find(context: CommandContext, name: str) -> Any:
    """Return the token with this name or id.

    Raises:
        CommandError: there is none.
    """
    known = context.metaserver.request("GET", "/v1/tokens")["tokens"]
    for entry in known:
        if name in (str(entry["id"]), entry["name"]):
            return entry
    raise CommandError(
        f"token {name}",
        "there is none with this name or id",
        "see: cachemesh token list",
        ExitCode.NOT_FOUND_OR_CONFLICT,
    )


def _without_text(made: Mapping[str, Any], path: Path) -> dict[str, Any]:
    return {**{name: value for name, value in made.items() if name != "token"}, "file": str(path)}


def _until(made: Mapping[str, Any]) -> str:
    return f"the text from before is good until {made['former_until']}"


def _create_into(context: CommandContext, wanted: Mapping[str, Any], path: Path) -> Any:
    """Create a token and write it to a new file; on failure neither is left behind.

    Raises:
        CommandError: the file cannot be written.
        MetaserverError: the metaserver refused.
    """
    with ExitStack() as undo:
        try:
            # The file first: a token that cannot be written to it would be lost.
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            undo.callback(path.unlink, missing_ok=True)
            with os.fdopen(handle, "w") as file:
                made = context.metaserver.request("POST", "/v1/tokens", wanted)
                undo.callback(_revoke, context, str(made["id"]))
                file.write(made["token"] + "\n")
        except OSError as error:
            raise CommandError(
                f"file {path}",
                error.strerror or type(error).__name__,
                "no token was made; name a new file in a directory that you can write to",
            ) from error
        undo.pop_all()
        return made


def _rotate_into(context: CommandContext, request_path: str, overlap: int, path: Path) -> Any:
    """Replace a token's text, and put the new one in place of a file, which keeps its rights.

    Raises:
        CommandError: the file cannot be written.
        MetaserverError: the metaserver refused; the file is as it was.
    """
    try:
        with replacing(path) as file:
            if path.exists():
                before = path.stat()
                os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            made = context.metaserver.request("POST", request_path, {"overlap": overlap})
            file.write(made["token"] + "\n")
    except OSError as error:
        raise CommandError(
            f"file {path}",
            error.strerror or type(error).__name__,
            "name a file that you can write; if the text was replaced already, it is lost: rotate "
            "again, the one in the file is good for the overlap",
        ) from error
    return made


def _revoke(context: CommandContext, token_id: str) -> None:
    context.metaserver.request("DELETE", f"/v1/tokens/{quote(token_id, safe='')}")
