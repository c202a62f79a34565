"""`cachemesh token`: lists, creates and revokes the metaserver's tokens."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from cachemesh.cli.change import confirm, dry_run_option, end_dry_run, yes_option
from cachemesh.cli.context import CommandContext, with_context
from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.cli.output import emit, say
from cachemesh.cli.tables import Column, moment, show, table


@click.group(no_args_is_help=False)
def token() -> None:
    """Tokens: who may speak to the metaserver."""


@token.command("list")
@with_context
def list_tokens(context: CommandContext) -> None:
    """List the tokens; what they are themselves is not kept anywhere."""
    data = context.metaserver.request("GET", "/v1/tokens")
    rows = [
        [
            str(entry["id"]),
            entry["name"],
            entry["role"],
            moment(entry["created"]),
            moment(entry["last_used"]),
        ]
        for entry in data["tokens"]
    ]
    columns = ("id", Column("name", fit="middle"), "role", Column("created", rank=1), "last_used")
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
    "--output-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the token to this new file, that only you can read, instead of printing it.",
)
@dry_run_option
@with_context
def create(
    context: CommandContext, name: str, role: str, output_file: Path | None, dry_run: bool
) -> None:
    """Make a token. It is shown this once."""
    if dry_run:
        plan = {"dry_run": True, "summary": f"create token {name} with role {role}"}
        emit(context.output, plan, lambda: click.echo(f"plan: {plan['summary']}"))
        end_dry_run(has_changes=True)
    if output_file is None:
        made = context.metaserver.request("POST", "/v1/tokens", {"name": name, "role": role})
        emit(context.output, made, lambda: click.echo(made["token"]))
        say(f"token {made['name']}, id {made['id']}, role {made['role']}: shown this once")
        return
    made = _create_into(context, name, role, output_file)
    shown = {**{key: made[key] for key in ("id", "name", "role")}, "file": str(output_file)}
    emit(context.output, shown, lambda: click.echo(f"token {made['id']} is in {output_file}"))


@token.command()
@click.argument("token_id", metavar="ID")
@dry_run_option
@yes_option
@with_context
def revoke(context: CommandContext, token_id: str, dry_run: bool, yes: bool) -> None:
    """Make a token worthless at once."""
    known = context.metaserver.request("GET", "/v1/tokens")["tokens"]
    entry = next((entry for entry in known if str(entry["id"]) == token_id), None)
    if entry is None:
        raise CommandError(
            f"token {token_id}",
            "there is none with this id",
            "see: cachemesh token list",
            ExitCode.NOT_FOUND_OR_CONFLICT,
        )
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


def _create_into(context: CommandContext, name: str, role: str, path: Path) -> Any:
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
                made = context.metaserver.request(
                    "POST", "/v1/tokens", {"name": name, "role": role}
                )
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


def _revoke(context: CommandContext, token_id: str) -> None:
    context.metaserver.request("DELETE", f"/v1/tokens/{quote(token_id, safe='')}")
