"""The reaper: the parent of all processes of a local stack, so that none of them outlives it.

This program runs as a plain file (``python -I -S reaper.py PARENT_PID [DIRECTORY]``) and imports
the standard library alone, so that it starts in a few hundredths of a second. It takes orders as
JSON lines on file descriptor 0, a Unix socket (`cachemesh.local.reaper_client` sends them):

    {"id": 1, "op": "spawn", "argv": [...], "env": {...}, "cwd": "...", "log": "..."}
        answers {"id": 1, "pid": 4711} or {"id": 1, "error": "..."}
    {"id": 2, "op": "signal", "pid": 4711, "signal": 9, "group": true}
        answers {"id": 2}
    {"id": 3, "op": "poll", "pid": 4711}
        answers {"id": 3, "code": null}, or the exit code, -N for signal N

When the socket closes, or PARENT_PID has ended, the reaper kills all processes that are left,
removes DIRECTORY if one was named, and ends. Three measures make sure that none survives:

- each process leads a session of its own, and its whole group is killed (gunicorn's workers too);
- on Linux the reaper is a subreaper: a process that loses its parent becomes the reaper's child;
- on Linux the kernel sends each process SIGKILL when the reaper dies (PR_SET_PDEATHSIG, which is
  tied to the thread that spawned the process; the reaper has one thread only).

Source: prctl(2), PR_SET_CHILD_SUBREAPER and PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
POLL_INTERVAL = 0.2  # seconds between two checks of the parent and of exited children
KILL_WITHIN = 10.0  # seconds until the reaper gives up on a process that SIGKILL does not end


def _prctl() -> Callable[[int, int], object] | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    return lambda option, value: libc.prctl(option, value, 0, 0, 0)


class Children:
    """The processes that the reaper has started, and their exit codes (None while running)."""

    def __init__(self) -> None:
        self._prctl = _prctl()
        self._codes: dict[int, int | None] = {}
        self._popen: dict[int, subprocess.Popen[bytes]] = {}
        if self._prctl is not None:
            self._prctl(PR_SET_CHILD_SUBREAPER, 1)

    def _in_child(self) -> None:
        if self._prctl is not None:
            self._prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self._pid:  # the reaper died before prctl
                os._exit(1)

    def spawn(self, argv: list[str], env: dict[str, str], cwd: str, log: str) -> int:
        """Start a process in a session of its own and return its pid.

        Args:
            argv: the command line.
            env: the environment.
            cwd: the working directory.
            log: the file to which the process's output is appended.

        Raises:
            OSError, subprocess.SubprocessError: the process cannot be started.
        """
        self._pid = os.getpid()
        with Path(log).open("ab") as out:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=env,
                start_new_session=True,
                preexec_fn=self._in_child,
            )
        self._codes[child.pid] = None
        self._popen[child.pid] = child
        return child.pid

    def reap(self) -> bool:
        """Collect the exit codes of ended children; return False when no child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid in self._codes:
                code = os.waitstatus_to_exitcode(status)
                self._codes[pid] = code
                self._popen.pop(pid).returncode = code
                _kill_group(pid, signal.SIGKILL)

    def poll(self, pid: int) -> int | None:
        """Return the exit code of a process (-N: ended by signal N), or None while it runs."""
        self.reap()
        return self._codes[pid]

    def send(self, pid: int, number: int, group: bool) -> None:
        """Send a signal to a process, or to its whole group; an ended process gets none.

        A process that has not been reaped keeps its pid, so no other can get the signal.
        """
        self.reap()
        if self._codes[pid] is not None:
            return
        if group:
            _kill_group(pid, number)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self) -> None:
        """Kill all processes, and the orphans that became children of the reaper."""
        deadline = time.monotonic() + KILL_WITHIN
        for pid, code in self._codes.items():
            if code is None:
                _kill_group(pid, signal.SIGKILL)
        while self.reap() and time.monotonic() < deadline:
            for pid in _children_of(os.getpid()):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)


def _kill_group(group: int, number: int) -> None:
    # PermissionError: macOS answers it for a group of zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _children_of(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def _carry_out(children: Children, order: dict[str, Any]) -> dict[str, Any]:
    """Carry out one order and return the fields of its reply, without the "id"."""
    if order["op"] == "spawn":
        try:
            pid = children.spawn(order["argv"], order["env"], order["cwd"], order["log"])
        except (OSError, subprocess.SubprocessError) as error:
            return {"error": f"cannot start {order['argv'][0]}: {error}"}
        return {"pid": pid}
    if order["op"] == "signal":
        children.send(order["pid"], order["signal"], order["group"])
        return {}
    return {"code": children.poll(order["pid"])}


def _serve(orders: socket.socket, parent: int, children: Children) -> None:
    buffer = b""
    while os.getppid() == parent:
        readable, _, _ = select.select([orders], [], [], POLL_INTERVAL)
        children.reap()
        if not readable:
            continue
        received = orders.recv(65536)
        if not received:
            return
        *lines, buffer = (buffer + received).split(b"\n")
        for line in lines:
            order = json.loads(line)
            reply = {"id": order["id"], **_carry_out(children, order)}
            orders.sendall(json.dumps(reply).encode() + b"\n")


def _stop(number: int, frame: object) -> None:
    sys.exit(128 + number)


def main() -> None:
    """Carry out orders until the parent has ended, then kill every process that is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    children = Children()
    try:
        with contextlib.suppress(ConnectionError):
            _serve(socket.socket(fileno=0), int(sys.argv[1]), children)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        children.end()
        if len(sys.argv) > 2:
            shutil.rmtree(sys.argv[2], ignore_errors=True)


if __name__ == "__main__":
    main()
