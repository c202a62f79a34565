"""Joins all commands into `cachemesh`, runs it, and ends it with the right exit code."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence

import click
import redis
from click.shell_completion import get_completion_class

from cachemesh import __version__
from cachemesh.cli.apply import apply
from cachemesh.cli.client import client
from cachemesh.cli.common_options import add_common_options
from cachemesh.cli.context import CommonOptions
from cachemesh.cli.context_commands import context_group
from cachemesh.cli.doctor import doctor
from cachemesh.cli.errors import ExitCode, Explanation, explain
from cachemesh.cli.event import event
from cachemesh.cli.key import key
from cachemesh.cli.metaserver import metaserver
from cachemesh.cli.migration import migration
from cachemesh.cli.output import Output, say
from cachemesh.cli.pool import pool
from cachemesh.cli.quality import quality
from cachemesh.cli.replay import replay
from cachemesh.cli.sentinel import sentinel
from cachemesh.cli.shard import shard
from cachemesh.cli.stack import down, up
from cachemesh.cli.stack_status import status
from cachemesh.cli.store import store
from cachemesh.cli.token import token
from cachemesh.core.errors import CacheMeshError

NAME = "cachemesh"
_COMPLETE_VARIABLE = "_CACHEMESH_COMPLETE"
_ENDS_WITHIN = 1.0  # seconds


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=NAME)
@add_common_options
@click.pass_context
def cachemesh(
    called: click.Context,
    url: str | None,
    token_file: str | None,
    pool: str | None,
    output: Output | None,
    context: str | None,
) -> None:
    """Run an elastic Redis cache.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 unreachable, 4 not found or conflict, 5 unhealthy,
    6 plan has changes.
    """
    called.obj = CommonOptions(url, token_file, pool, output, context)
    if called.invoked_subcommand is None:
        click.echo(called.get_help(), err=True)
        called.exit(ExitCode.USAGE)


@cachemesh.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete this command; source it from the shell's start-up file."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"No completion for {shell}.")
    click.echo(kind(cachemesh, {}, NAME, _COMPLETE_VARIABLE).source())


for _command in (
    context_group,
    pool,
    shard,
    migration,
    apply,
    key,
    event,
    token,
    metaserver,
    store,
    client,
    quality,
    sentinel,
    replay,
    up,
    down,
    status,
    doctor,
):
    cachemesh.add_command(_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: of the command line, without the program's name; None: those of the process.
    """
    try:
        code = cachemesh.main(arguments, NAME, _COMPLETE_VARIABLE, standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        return _broken_pipe()
    except (KeyboardInterrupt, click.Abort):
        return ExitCode.INTERRUPTED
    except (CacheMeshError, redis.RedisError, click.ClickException) as error:
        return _fail(explain(error))
    except OSError as error:
        what = error.filename or "system"
        why = error.strerror or type(error).__name__
        return _fail(Explanation(f"{what}: {why}", "check it, then try again", ExitCode.FAILED))
    return code if isinstance(code, int) else ExitCode.OK


def main() -> None:
    """Run the command and end the process; `cachemesh_command` calls this."""
    code = int(run())
    _await_clients()
    sys.exit(code)


def _await_clients() -> None:
    """Wait for threads of clients that are closed, and end in a moment.

    One that still speaks TLS while the process ends finds OpenSSL cleaned up, and crashes.
    """
    until = time.monotonic() + _ENDS_WITHIN
    for thread in threading.enumerate():
        if thread.name.startswith("cachemesh-"):
            thread.join(max(0.0, until - time.monotonic()))


def _fail(explanation: Explanation) -> int:
    say(f"error: {explanation.message}")
    say(f"next: {explanation.next_step.removeprefix('see: ')}")
    return explanation.code


def _broken_pipe() -> int:
    # The reader has closed the pipe; without this, Python would report it when it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.FAILED
