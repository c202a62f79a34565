"""A metaserver with a planted mistake: it fences nobody. Run as a module, like `metaserver`."""

from __future__ import annotations

from gevent import monkey


def main() -> None:
    """Run the command without fences, and with few attempts before one would be put up."""
    monkey.patch_all()
    from metaserver.cli import serve
    from metaserver.domain import resize_steps
    from metaserver.loops import resize_shards

    resize_steps.ATTEMPTS = 2
    resize_shards.fence = lambda connection, version, acknowledged: 0
    serve(prog_name="unfenced-metaserver")


if __name__ == "__main__":
    main()
