"""Reads access traces: 32-bit object ids or lines of text, plain or compressed.

A trace of ids holds a big-endian signed 32-bit integer per access. The format is recognized by the
content, not by the file's name: ids by bytes that do not occur in text.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from struct import iter_unpack
from typing import IO, Literal

from cachemesh.replay.decompression import decompressed
from cachemesh.replay.errors import TraceError

Format = Literal["auto", "ids", "text"]

ID_BYTES = 4
_SNIFF = 4096
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\v")


@dataclass(frozen=True)
class Trace:
    """A trace of accesses.

    Attributes:
        name: the file as given, for messages.
        path: the file, or None for standard input.
        operations: the number of accesses, or None if it is not known yet (standard input).
        kind: "ids", "text", or "auto" to decide by the content.
    """

    name: str
    path: Path | None
    operations: int | None
    kind: Format = "auto"

    def keys(self, limit: int | None = None, prefix: bytes = b"") -> Iterator[bytes]:
        """Yield the key of each access, in order.

        Args:
            limit: the most keys to yield; None: all.
            prefix: what every key begins with.

        Raises:
            TraceError: the trace is empty, cut off or damaged.
        """
        keys = self._with_prefix(prefix)
        return keys if limit is None else islice(keys, limit)

    def _with_prefix(self, prefix: bytes) -> Iterator[bytes]:
        if self.path is None:
            yield from _read_keys(sys.stdin.buffer, self.name, self.kind, prefix)
            return
        with _open(self.path, self.name) as file:
            yield from _read_keys(file, self.name, self.kind, prefix)


def open_trace(path: str | Path, kind: Format = "auto") -> Trace:
    """Open a trace; read all of it once, so that damage is found before any access is made.

    Args:
        path: the file; "-" is standard input, which is not read in advance.
        kind: "ids", "text", or "auto" to decide by the content.

    Raises:
        TraceError: the file does not exist, is empty, cut off or damaged.
    """
    name = str(path)
    if name == "-":
        return Trace("standard input", None, None, kind)
    path = Path(path)
    with _open(path, name) as file:
        operations = sum(_count_chunks(file, name, kind))
    return Trace(name, path, operations, kind)


def _open(path: Path, name: str) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise TraceError(
            name, error.strerror or type(error).__name__, "check the path and its permissions"
        ) from error


def _count_chunks(file: IO[bytes], name: str, kind: Format) -> Iterator[int]:
    binary, chunks = _decoded(file, name, kind)
    if binary:
        yield from (len(chunk) // ID_BYTES for chunk in _whole_ids(chunks, name))
    else:
        yield from (1 for _ in _lines(chunks, name))


def _read_keys(file: IO[bytes], name: str, kind: Format, prefix: bytes) -> Iterator[bytes]:
    binary, chunks = _decoded(file, name, kind)
    if binary:
        for chunk in _whole_ids(chunks, name):
            for (number,) in iter_unpack(">i", chunk):
                yield prefix + b"%d" % number
    else:
        for line in _lines(chunks, name):
            yield prefix + line


def _decoded(file: IO[bytes], name: str, kind: Format) -> tuple[bool, Iterator[bytes]]:
    """Return whether the content is ids, and the decompressed content in chunks."""
    chunks = decompressed(file, name)
    first = next(chunks, b"")
    binary = kind == "ids" or (kind == "auto" and not _is_text(first[:_SNIFF]))
    return binary, _chain(first, chunks)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _is_text(sample: bytes) -> bool:
    return all(byte >= 32 or byte in _TEXT_CONTROLS for byte in sample) and (
        # A file of keys that are not UTF-8 needs kind "text".
        _is_utf8(sample)
    )


def _is_utf8(sample: bytes) -> bool:
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError as error:
        # The sample may end in the middle of a character.
        return error.reason == "unexpected end of data" and error.start > len(sample) - 4
    return True


def _whole_ids(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Yield the same bytes in chunks of whole integers."""
    left, total = b"", 0
    for chunk in chunks:
        total += len(chunk)
        data = left + chunk
        whole = len(data) - len(data) % ID_BYTES
        left = data[whole:]
        if whole:
            yield data[:whole]
    if left:
        raise TraceError(
            name,
            f"it ends inside an integer: {total} bytes of ids, and the last {len(left)}, from "
            f"byte {total - len(left)} on, are not a whole 32-bit integer",
            "copy the file again, it was cut off (or, if it is text, say --format text)",
        )
    if not total:
        raise _empty(name)


def _lines(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Yield the lines that are not empty, without their line ends."""
    left, found = b"", False
    for chunk in chunks:
        *whole, left = (left + chunk).split(b"\n")
        for line in whole:
            if line := line.removesuffix(b"\r"):
                found = True
                yield line
    if left := left.removesuffix(b"\r"):
        found = True
        yield left
    if not found:
        raise _empty(name)


def _empty(name: str) -> TraceError:
    return TraceError(
        name,
        "it is empty: no access before its end, at byte 0 of its content",
        "give a file of big-endian 32-bit ids (plain, xz, gzip) or of one key per line",
    )
