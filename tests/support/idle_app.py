"""An app that writes to every shard of a pool, says "ready", and does nothing until its input ends.

``python -m tests.support.idle_app``, with the pool in CACHEMESH_URL and CACHEMESH_TOKEN.
"""

from __future__ import annotations

import sys

from cachemesh import CacheMesh


def main() -> None:
    """Run the app."""
    with CacheMesh.from_env() as client:
        client.mset({f"key:{number}": "value" for number in range(100)})
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
