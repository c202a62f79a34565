"""`cachemesh doctor`: checks of this machine and of the pool."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cachemesh.cli.context import chosen_deployment
from cachemesh.cli.context_file import Deployment
from cachemesh.cli.doctor_findings import show_findings
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
from cachemesh.local.doctor.configuration import Configuration, read_configuration
from cachemesh.local.doctor.examination import examine
from cachemesh.local.state import default_directory


@click.command()
@pool_option
@directory_option
@output_option
def doctor(pool: str, directory: Path | None, output: Output | None) -> None:
    """Check this machine, and the pool at CACHEMESH_URL; exit 5 if a check fails.

    With a metaserver's URL it also finds what is configured wrong at the pool's servers, says what
    follows from it and what to type next; an error among that is a failure too.
    """
    chosen = chosen_output(output)
    outer = outer_options()
    as_lines = chosen in ("table", "wide")
    checks: list[Check] = []
    at = chosen_deployment(outer, os.environ) or Deployment("")
    token_file = outer.token_file or at.token_file
    for check in examine(directory or default_directory(pool), at.url or None, token_file):
        checks.append(check)
        if as_lines:
            _show_check(check)
    found = read_configuration(at.url or None, token_file, os.environ)
    if found is not None:
        checks.append(found.check)
        if as_lines:
            _show_check(found.check)
            show_findings(found.findings, found.not_checked)
    failed = [check.name for check in checks if check.state == "fail"]
    failed += [] if found is None else found.errors
    emit(chosen, _data(checks, found, failed), lambda: None)
    say(f"failed: {', '.join(failed)}" if failed else "no check failed")
    if failed:
        raise click.exceptions.Exit(ExitCode.UNHEALTHY)


def _data(checks: list[Check], found: Configuration | None, failed: list[str]) -> dict[str, object]:
    return {
        "healthy": not failed,
        "checks": [vars(check) for check in checks],
        "findings": [] if found is None else list(found.findings),
        "not_checked": [] if found is None else list(found.not_checked),
    }


def _show_check(check: Check) -> None:
    click.echo(printable(f"{check.state:<4}  {check.name}: {check.detail}"))
    if check.next_step:
        click.echo(printable(f"      -> {check.next_step}"))
