"""`cachemesh context`: names for the deployments that an operator works with."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import click

from cachemesh.cli import completing
from cachemesh.cli.context_file import Deployment, context_path, read_contexts, write_contexts
from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.cli.output import Output, emit, say
from cachemesh.cli.stack_options import chosen_output, outer_options, output_option
from cachemesh.cli.tables import Column, show, table


@click.group("context", no_args_is_help=False)
def context_group() -> None:
    """Contexts: names for deployments, so that a command need not be told URL and token."""


@context_group.command("list")
@output_option
def list_contexts(output: Output | None) -> None:
    """List the contexts; the one in use has a star."""
    contexts = read_contexts(context_path())
    data = {
        "current": contexts.current,
        "contexts": [
            {"name": name, "url": each.url, "token_file": each.token_file}
            for name, each in contexts.deployments.items()
        ],
    }
    rows = [
        ["*" if name == contexts.current else "", name, each.url, each.token_file]
        for name, each in contexts.deployments.items()
    ]
    columns = ("", Column("context", fit="middle"), "url", Column("token file", rank=1))
    chosen = chosen_output(output)
    emit(chosen, data, lambda: show(table(columns, rows), wide=chosen == "wide"))


@context_group.command("set")
@click.argument("name", shell_complete=completing.contexts)
@click.option("--url", metavar="URL", help="cachemesh://HOST:PORT[,...]/POOL.")
@click.option("--token-file", metavar="FILE", type=click.Path(dir_okay=False), help="With a token.")
def set_context(name: str, url: str | None, token_file: str | None) -> None:
    """Make a context, or change it; the first one is used at once."""
    path, outer = context_path(), outer_options()
    contexts = read_contexts(path)
    before = contexts.deployments.get(name)
    if not url:
        url = outer.url or (before.url if before else None)
    if not url:
        raise click.UsageError("Give --url URL.")
    token_file = token_file or outer.token_file
    if token_file:
        token_file = str(Path(token_file).absolute())
    elif before:
        token_file = before.token_file
    changed = contexts.with_context(name, Deployment(url, token_file))
    if contexts.current is None:
        changed = replace(changed, current=name)
    write_contexts(path, changed)
    in_use = ", and is in use" if changed.current == name else ""
    say(f"context {name} leads to {url}{in_use}")


@context_group.command("use")
@click.argument("name", shell_complete=completing.contexts)
def use_context(name: str) -> None:
    """Use a context from now on, where neither --url nor CACHEMESH_URL says otherwise."""
    path = context_path()
    contexts = read_contexts(path)
    _require(name in contexts.deployments, name)
    write_contexts(path, replace(contexts, current=name))
    say(f"context {name} is in use: {contexts.deployments[name].url}")
    for variable in ("CACHEMESH_URL", "CACHEMESH_CONTEXT"):
        if os.environ.get(variable):
            say(f"{variable} is set, and counts more: unset {variable}")


@context_group.command("remove")
@click.argument("name", shell_complete=completing.contexts)
def remove_context(name: str) -> None:
    """Forget a context; the deployment stays as it is."""
    path = context_path()
    contexts = read_contexts(path)
    _require(name in contexts.deployments, name)
    write_contexts(path, contexts.without(name))
    say(f"context {name} is forgotten")


def _require(known: bool, name: str) -> None:
    if not known:
        raise CommandError(
            f"context {name}",
            "there is none of this name",
            "cachemesh context list",
            ExitCode.NOT_FOUND_OR_CONFLICT,
        )
