"""Where commands begin: outside of the package `cachemesh`, whose import takes 0.3 s.

A Ctrl-C in that time has to end a command as one later does, without a traceback.
"""

from __future__ import annotations

import sys
from importlib import import_module

_INTERRUPTED = 130  # `cachemesh.cli.errors.ExitCode.INTERRUPTED`, which is yet to be imported


def main() -> None:
    """Entry point of the `cachemesh` script."""
    run("cachemesh.cli.main")


def run(module: str) -> None:
    """Import a module, call its ``main``, and end the process with the exit code it returns."""
    try:
        sys.exit(import_module(module).main())
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
