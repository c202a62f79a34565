"""Reading access traces: 32-bit object ids or lines of text, plain, xz or gzip.

A trace of ids is big-endian signed 32-bit integers, one per access. What the bytes hold is told
by the bytes, not by the name: the compression by its magic number, ids by bytes that no text has.
"""

from __future__ import annotations

import gzip
import lzma
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from struct import iter_unpack
from typing import IO, Literal, cast

from cachemesh.core.errors import CacheMeshError

Format = Literal["auto", "ids", "text"]

ID_BYTES = 4
_CHUNK = 64 * 1024
_SNIFF = 4096
_XZ_MAGIC = b"\xfd7zXZ\x00"
_GZIP_MAGIC = b"\x1f\x8b"
_MAGIC_BYTES = len(_XZ_MAGIC)
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\v")


class TraceError(CacheMeshError, ValueError):
    """A trace that cannot be read. The message names the file, the byte and the next step."""

    def __init__(self, name: str, detail: str, next_step: str) -> None:
        self.name = name
        self.next_step = next_step
        super().__init__(f"trace {name}: {detail}; {next_step}")


class _Counted:
    """A byte stream, readable once, that knows how many bytes were taken from it."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._ahead = b""
        self.taken = 0

    def peek(self, size: int) -> bytes:
        while len(self._ahead) < size and (more := self._source.read(size - len(self._ahead))):
            self._ahead += more
        return self._ahead

    def read(self, size: int = -1) -> bytes:
        if self._ahead:
            size = len(self._ahead) if size < 0 else size
            data, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            data = self._source.read(size)
        self.taken += len(data)
        return data


@dataclass(frozen=True)
class Trace:
    """A trace of accesses.

    Attributes:
        name: the file as given, for messages.
        path: the file, or None for standard input.
        operations: accesses in it, or None if only reading it will tell (standard input).
        kind: "auto" (the content decides), "ids" or "text".
    """

    name: str
    path: Path | None
    operations: int | None
    kind: Format = "auto"

    def keys(self, limit: int | None = None, prefix: bytes = b"") -> Iterator[bytes]:
        """The key of each access in order, at most ``limit`` of them.

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
    """A trace, read through once so that damage shows before any traffic; "-" is standard input.

    Raises:
        TraceError: no such file, or one that is empty, cut off or damaged.
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
    """Whether the content is ids, and the content, decompressed, in chunks."""
    chunks = _decompressed(_Counted(file), name)
    first = next(chunks, b"")
    binary = kind == "ids" or (kind == "auto" and not _is_text(first[:_SNIFF]))
    return binary, _chain(first, chunks)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _is_text(sample: bytes) -> bool:
    return all(byte >= 32 or byte in _TEXT_CONTROLS for byte in sample) and (
        # A key may be any bytes, but a file of keys that is not UTF-8 must be called text.
        _is_utf8(sample)
    )


def _is_utf8(sample: bytes) -> bool:
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError as error:
        # The sample may end in the middle of a character.
        return error.reason == "unexpected end of data" and error.start > len(sample) - 4
    return True


def _decompressed(source: _Counted, name: str) -> Iterator[bytes]:
    magic = source.peek(_MAGIC_BYTES)
    stream: _Counted | lzma.LZMAFile | gzip.GzipFile = source
    codec = "file"
    # Neither decoder closes what it was given to read, so neither needs closing itself.
    if magic.startswith(_XZ_MAGIC):
        stream, codec = lzma.LZMAFile(cast(IO[bytes], source)), "xz stream"  # noqa: SIM115
    elif magic.startswith(_GZIP_MAGIC):
        stream, codec = gzip.GzipFile(fileobj=cast(IO[bytes], source)), "gzip stream"
    elif magic and _XZ_MAGIC.startswith(magic):
        raise TraceError(
            name,
            f"the file ends at byte {len(magic)}, inside the header of an xz stream",
            "copy the file again, it was cut off",
        )
    while True:
        try:
            chunk = stream.read(_CHUNK)
        except EOFError as error:
            raise TraceError(
                name,
                f"the {codec} breaks off at byte {source.taken}, before its end",
                "copy the file again, it was cut off",
            ) from error
        except (lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
            raise TraceError(
                name,
                f"the {codec} is damaged at or before byte {source.taken} ({error})",
                "copy the file again and compare checksums",
            ) from error
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise TraceError(
                name, f"{reason}, after byte {source.taken}", "check the file"
            ) from error
        if not chunk:
            return
        yield chunk


def _whole_ids(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The same bytes in chunks of whole integers."""
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
    """The lines that are not empty, without their line ends."""
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
