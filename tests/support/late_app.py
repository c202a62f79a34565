"""An app that is started when nobody of the control plane answers: how soon it has a value.

    python -m tests.support.late_app sync|asyncio URL TOKEN_FILE SNAPSHOTS KEY

It prints one line of JSON: the value, where its topology is from, and the seconds from its first
call of CacheMesh to the reply.
"""

from __future__ import annotations

import json
import sys
import time

from tests.support.both_clients import calling


def main(kind: str, url: str, token_file: str, snapshots: str, key: str) -> None:
    """Read the key once."""
    began = time.monotonic()
    with calling(kind, url, token_file=token_file, snapshot_dir=snapshots) as app:
        value = app.driven.get(key)
        took = time.monotonic() - began
        source = app.mesh.health().topology.source
    found = {"value": value and value.decode(), "source": source, "seconds": round(took, 3)}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
