"""A stack in the background: `detach` starts `python -m cachemesh.local.background`.

The options come as one JSON object on its standard input. On its standard output it says, as JSON
lines, {"progress": "..."} and in the end {"ready": {...}} or {"error": "..."}. While it starts it
stops again when nobody listens any more; once ready it is on its own until `down`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cachemesh.core.errors import CacheMeshError, LocalStackError
from cachemesh.local.builder import Progress
from cachemesh.local.foreground import run
from cachemesh.local.launcher import with_source_path
from cachemesh.local.options import StackOptions
from cachemesh.local.stack import LocalStack


def detach(options: StackOptions, progress: Progress) -> dict[str, Any]:
    """Start a stack that outlives this process; returns its info once it is ready.

    Raises:
        LocalStackError: it did not start; nothing of it is left.
    """
    if options.directory is None:
        raise LocalStackError("a detached stack needs a directory, for `cachemesh down` to find it")
    place = options.directory.absolute()
    settings = dataclasses.asdict(dataclasses.replace(options, directory=None))
    with tempfile.TemporaryFile("w+") as errors:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=with_source_path(dict(os.environ)),
            cwd="/",
            start_new_session=True,
            text=True,
        )
        assert supervisor.stdin is not None and supervisor.stdout is not None
        try:
            json.dump({**settings, "directory": str(place)}, supervisor.stdin)
            supervisor.stdin.close()
            for line in supervisor.stdout:
                said = json.loads(line)
                if "ready" in said:
                    info: dict[str, Any] = said["ready"]
                    return info
                if "error" in said:
                    raise LocalStackError(said["error"])
                progress(said["progress"])
            supervisor.wait()
            errors.seek(0)
            last = errors.read().strip()[-2000:]
        except BaseException:
            supervisor.terminate()
            supervisor.wait()
            raise
        finally:
            supervisor.stdout.close()
    raise LocalStackError(
        f"the stack's supervisor ended with exit code {supervisor.returncode}: "
        f"{last or 'it gave no reason'}; try again without --detach"
    )


def main() -> int:
    """Run one stack as told on standard input."""
    settings = json.load(sys.stdin)
    place = Path(settings.pop("directory"))
    try:
        return run(LocalStack.of(StackOptions(**settings, directory=place)), _ready, _progress)
    except CacheMeshError as error:
        _say({"error": str(error)})
        return 1


def _ready(info: dict[str, Any]) -> None:
    _say({"ready": info})
    # From here on it holds nothing of the terminal or pipe it was started from.
    log = os.open(Path(info["dir"]) / "logs" / "supervisor.log", os.O_WRONLY | os.O_CREAT, 0o600)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.close(log)


def _progress(line: str) -> None:
    _say({"progress": line})


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
