"""A stack that runs in a process of its own, in the background, until `cachemesh down`.

`start_in_background` runs `python -m cachemesh.local.background`. That background process reads the
stack's options as one JSON object from standard input. On standard output it writes JSON lines:
{"progress": "..."} for each step, and at the end {"ready": {...}} or {"error": "..."}. If the
reader is gone, it stops the stack; once the stack is ready, it needs no reader.
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
from cachemesh.local.foreground import run_in_foreground
from cachemesh.local.launcher import with_source_path
from cachemesh.local.options import StackOptions
from cachemesh.local.stack import LocalStack


def start_in_background(options: StackOptions, progress: Progress) -> dict[str, Any]:
    """Start a stack that outlives this process, and wait until it is ready.

    Args:
        options: what the stack is made of; they must name a directory.
        progress: takes a line about each step.

    Returns:
        The stack's info, as `LocalStack.info` has it.

    Raises:
        LocalStackError: the stack did not start; none of its processes is left.
    """
    if options.directory is None:
        raise LocalStackError("a detached stack needs a directory, for `cachemesh down` to find it")
    directory = options.directory.absolute()
    settings = dataclasses.asdict(dataclasses.replace(options, directory=None))
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=with_source_path(dict(os.environ)),
            cwd="/",
            start_new_session=True,
            text=True,
        )
        assert child.stdin is not None and child.stdout is not None
        ready = False
        try:
            json.dump({**settings, "directory": str(directory)}, child.stdin)
            child.stdin.close()
            for line in child.stdout:
                said = json.loads(line)
                if "ready" in said:
                    ready = True
                    info: dict[str, Any] = said["ready"]
                    return info
                if "error" in said:
                    raise LocalStackError(said["error"])
                progress(said["progress"])
            child.wait()
            errors.seek(0)
            last = errors.read().strip()[-2000:]
        finally:
            if not ready:
                child.terminate()
                child.wait()
            child.stdout.close()
    raise LocalStackError(
        f"the stack's background process ended with exit code {child.returncode}: "
        f"{last or 'it gave no reason'}; try again without --detach"
    )


def main() -> int:
    """Run the stack whose options standard input holds; return the process's exit code."""
    settings = json.load(sys.stdin)
    directory = Path(settings.pop("directory"))
    try:
        stack = LocalStack.of(StackOptions(**settings, directory=directory))
        return run_in_foreground(stack, _ready, _progress)
    except CacheMeshError as error:
        _say({"error": str(error)})
        return 1


def _ready(info: dict[str, Any]) -> None:
    _say({"ready": info})
    # From here on this process keeps no terminal or pipe of its parent open.
    log = os.open(Path(info["dir"]) / "logs" / "background.log", os.O_WRONLY | os.O_CREAT, 0o600)
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
