"""The `cachemesh-metaserver` command."""

from __future__ import annotations

from gevent import monkey


def main() -> None:
    """Run it. Everything else is imported after gevent's patches: a lock made before them would
    block the whole process instead of one greenlet.

    What gunicorn's main process waits for signals and children with stays as it is there; the
    worker patches that too.
    """
    monkey.patch_all()
    from metaserver.cli import serve

    serve(prog_name="cachemesh-metaserver")


if __name__ == "__main__":
    main()
