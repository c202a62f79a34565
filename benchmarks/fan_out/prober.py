"""Calls of the API while clients are told: how long each waits for its reply.

The prober has its share of a busy machine only, so three things are told apart: the seconds until
the reply was there (by the kernel's clock, whenever this process came to read it), those until it
was read, and the CPU seconds that the metaserver took meanwhile.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

_TIMESTAMPS = 35  # SO_TIMESTAMPNS of socket(7), which Python does not name
_TIMESPEC = struct.Struct("qq")


@dataclass(frozen=True)
class Probe:
    """One call.

    Attributes:
        began: in monotonic seconds.
        took: seconds until the reply had come.
        read: seconds until the reply was read.
        cpu: of the server, in CPU seconds, until the reply was read: the time that the call would
            have taken with a CPU for the server alone, but for what the server waited for itself.
    """

    began: float
    took: float
    read: float
    cpu: float


class Prober:
    """Sends GET requests one after the other, on a connection kept open, and times each.

    Args:
        address: ``host:port`` of the metaserver.
        token: the bearer token.
        path: what to get.
        pid: of the metaserver's process.
        every: seconds between two requests, from one's beginning to the next one's.
    """

    def __init__(self, address: str, token: str, path: str, pid: int, every: float = 0.01) -> None:
        host, _, port = address.rpartition(":")
        self._address, self._every = (host, int(port)), every
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
        ).encode()
        self._clock = _cpu_clock(pid)
        self._stop = threading.Event()
        self._probes: list[Probe] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def within(self, begin: float, end: float) -> list[Probe]:
        """Return the calls that were under way between two times."""
        return [
            each for each in self._probes if each.began + each.read >= begin <= end >= each.began
        ]

    def settle(self, after: float) -> None:
        """Wait until a request that began after this time has been answered."""
        while not self._probes or self._probes[-1].began < after:
            time.sleep(0.01)

    def _run(self) -> None:
        with socket.create_connection(self._address, 60) as sock:
            sock.setsockopt(socket.SOL_SOCKET, _TIMESTAMPS, 1)
            while not self._stop.is_set():
                probe = self._probe(sock)
                self._probes.append(probe)
                self._stop.wait(self._every - probe.read)

    def _probe(self, sock: socket.socket) -> Probe:
        began, cpu, at = time.monotonic(), time.clock_gettime(self._clock), time.time()
        sock.sendall(self._request)
        data, came = b"", 0.0
        while not _whole(data):
            part, ancillary, _flags, _address = sock.recvmsg(1 << 20, 128)
            if not part:
                raise RuntimeError("the metaserver closed the prober's connection")
            data += part
            for level, kind, value in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMPS):
                    seconds, nanoseconds = _TIMESPEC.unpack(value)
                    came = seconds + nanoseconds / 1e9
        read, cpu = time.monotonic() - began, time.clock_gettime(self._clock) - cpu
        if not data.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the prober was answered with {data[:200]!r}")
        return Probe(began, min(read, came - at) if came else read, read, cpu)


def _whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    _, _, length = head.lower().partition(b"content-length: ")
    return bool(end) and len(body) >= int(length.split()[0])


def _cpu_clock(pid: int) -> int:
    """Return the clock of the CPU seconds of a process (clock_getcpuclockid(3))."""
    clock = ctypes.c_int()
    if failed := ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise OSError(failed, f"no CPU clock of process {pid}")
    return clock.value
