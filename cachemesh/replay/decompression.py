"""Decompresses traces in xz or gzip, and names the byte at which a damaged one breaks."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterator
from typing import IO, cast

from cachemesh.replay.errors import TraceError

_CHUNK = 64 * 1024
_XZ_MAGIC = b"\xfd7zXZ\x00"
_GZIP_MAGIC = b"\x1f\x8b"
_MAGIC_BYTES = len(_XZ_MAGIC)


class _CountingReader:
    """Reads a byte stream and counts the bytes that were read."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._ahead = b""
        self.taken = 0

    def peek(self, size: int) -> bytes:
        """Return the next bytes, at least `size` if there are as many, without taking them."""
        while len(self._ahead) < size and (more := self._source.read(size - len(self._ahead))):
            self._ahead += more
        return self._ahead

    def read(self, size: int = -1) -> bytes:
        """Take up to `size` bytes (-1: all)."""
        if self._ahead:
            size = len(self._ahead) if size < 0 else size
            data, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            data = self._source.read(size)
        self.taken += len(data)
        return data


def decompressed(file: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield the content of a file in chunks, decompressed if its magic number says xz or gzip.

    Args:
        file: open for reading, at its beginning.
        name: of the file, for messages.

    Raises:
        TraceError: the file is cut off or damaged.
    """
    source = _CountingReader(file)
    magic = source.peek(_MAGIC_BYTES)
    stream: _CountingReader | lzma.LZMAFile | gzip.GzipFile = source
    codec = "file"
    # Neither decoder owns the file, so neither needs to be closed.
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
