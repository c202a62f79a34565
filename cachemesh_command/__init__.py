"""The entry points of commands, outside of the package `cachemesh`, whose import takes 0.3 s.

A Ctrl-C during that import has to end a command without a traceback, as later ones do.
quick   imports it in less time
demo    the entry point of `scripts/demo`; the `cachemesh` script enters here, at `main`
"""

from __future__ import annotations

import sys

from cachemesh_command.quick import quickly_imported

_INTERRUPTED = 130  # `cachemesh.cli.errors.ExitCode.INTERRUPTED`, which is yet to be imported


def main() -> None:
    """Run the `cachemesh` command: the entry point of the script."""
    run("cachemesh.cli.main")


def run(module: str) -> None:
    """Import a module, call its ``main``, and end the process with the exit code it returns."""
    try:
        sys.exit(quickly_imported(module).main())
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
