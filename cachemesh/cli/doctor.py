"""`cachemesh doctor`: checks of this machine and of the pool."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cachemesh.cli.context import chosen_deployment
from cachemesh.cli.context_file import Deployment
from cachemesh.cli.errors import ExitCode
from cachemesh.cli.output import Output, emit, printable, say
from cachemesh.cli.stack_options import (
    chosen_output,
    directory_option,
    outer_options,
    output_option,
    pool_option,
)
from cachemesh.local.doctor.check import Check
from cachemesh.local.doctor.examination import examine
from cachemesh.local.state import default_directory


@click.command()
@pool_option
@directory_option
@output_option
def doctor(pool: str, directory: Path | None, output: Output | None) -> None:
    """Check this machine, and the pool at CACHEMESH_URL; exit 5 if a check fails."""
    chosen = chosen_output(output)
    outer = outer_options()
    checks: list[Check] = []
    at = chosen_deployment(outer, os.environ) or Deployment("")
    token_file = outer.token_file or at.token_file
    for check in examine(directory or default_directory(pool), at.url or None, token_file):
        checks.append(check)
        if chosen in ("table", "wide"):
            _show_check(check)
    failed = [check.name for check in checks if check.state == "fail"]
    data = {"healthy": not failed, "checks": [vars(check) for check in checks]}
    emit(chosen, data, lambda: None)
    say(f"failed: {', '.join(failed)}" if failed else "no check failed")
    if failed:
        raise click.exceptions.Exit(ExitCode.UNHEALTHY)


def _show_check(check: Check) -> None:
    click.echo(printable(f"{check.state:<4}  {check.name}: {check.detail}"))
    if check.next_step:
        click.echo(printable(f"      -> {check.next_step}"))
