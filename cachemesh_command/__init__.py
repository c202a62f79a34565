"""Where the `cachemesh` script begins: outside of the package, whose import takes 0.3 s.

A Ctrl-C in that time has to end the command as one later does, without a traceback.
"""

from __future__ import annotations

import sys

_INTERRUPTED = 130  # `cachemesh.cli.errors.ExitCode.INTERRUPTED`, which is yet to be imported


def main() -> None:
    """Entry point of the `cachemesh` script."""
    try:
        from cachemesh.cli.main import main as command

        command()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
