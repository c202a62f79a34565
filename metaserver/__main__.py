"""The `cachemesh-metaserver` command."""

from __future__ import annotations

from gevent import monkey

from cachemesh_command.quick import quickly_imported


def main() -> None:
    """Run the command.

    Everything else is imported after gevent's patches: a lock created before them would block the
    whole process instead of one greenlet.
    """
    monkey.patch_all()
    quickly_imported("metaserver.cli").serve(prog_name="cachemesh-metaserver")


if __name__ == "__main__":
    main()
