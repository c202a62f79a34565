"""Checks that this machine, or the container this process runs in, has memory for a stack."""

from __future__ import annotations

from pathlib import Path

from cachemesh.core.errors import LocalStackError
from cachemesh.core.plurals import counted

_PER_INSTANCE = 4 * 1024 * 1024
"""Bytes for one idle redis-server: 3.1 MiB were measured, and some more."""
_MEBIBYTE = 1024 * 1024


def available() -> int | None:
    """Return the bytes available without swapping; None where the system does not tell.

    Source: proc(5), MemAvailable; the kernel's cgroup-v2.rst, memory.max and memory.current.
    """
    left = [n for n in (_of_machine(), _of_container()) if n is not None]
    return min(left, default=None)


def check_enough(instances: int) -> None:
    """Check that so many redis-servers fit into memory.

    Raises:
        LocalStackError: they do not fit.
    """
    left, needed = available(), instances * _PER_INSTANCE
    if left is not None and needed > left:
        raise LocalStackError(
            f"{counted(instances, 'instance')} would need about {needed // _MEBIBYTE:,} MiB of "
            f"memory, and {left // _MEBIBYTE:,} MiB are available; ask for fewer shards or replicas"
        )


def _of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    told = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(told[0]) * 1024 if told else None


def _of_container() -> int | None:
    group = Path("/sys/fs/cgroup")
    try:
        most, used = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current"))
    except OSError:
        return None
    return None if most == "max" else max(0, int(most) - int(used))
