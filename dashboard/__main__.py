"""The `cachemesh-dashboard` command."""

from __future__ import annotations

import sys

from gevent import monkey

from cachemesh_command.quick import quickly_imported


def main() -> int:
    """Run the command, and return its exit code.

    Everything else is imported after gevent's patches: a lock created before them would block the
    whole process instead of one greenlet.
    """
    monkey.patch_all()
    code: int = quickly_imported("dashboard.cli").main()
    return code


if __name__ == "__main__":
    sys.exit(main())
