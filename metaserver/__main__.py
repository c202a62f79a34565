"""The `cachemesh-metaserver` command."""

from __future__ import annotations

from gevent import monkey


def main() -> None:
    """Run the command.

    Everything else is imported after gevent's patches: a lock created before them would block the
    whole process instead of one greenlet.
    """
    monkey.patch_all()
    from metaserver.cli import serve

    serve(prog_name="cachemesh-metaserver")


if __name__ == "__main__":
    main()
