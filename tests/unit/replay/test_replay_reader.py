"""Traces: how they are read, and the errors for damaged ones."""

from __future__ import annotations

import gzip
import lzma
import struct
from pathlib import Path

import pytest

from cachemesh.replay import Trace, TraceError, open_trace

IDS = [0, 1, 255, 256, 70_000, 2**31 - 1, -1, -(2**31)]
KEYS = [b"%d" % number for number in IDS]
RAW = struct.pack(f">{len(IDS)}i", *IDS)
SHARED = Path(__file__).resolve().parents[4] / "shared"


def trace_of(directory: Path, content: bytes, name: str = "t") -> Trace:
    path = directory / name
    path.write_bytes(content)
    return open_trace(path)


@pytest.mark.parametrize(
    "content", [RAW, lzma.compress(RAW), gzip.compress(RAW)], ids=["plain", "xz", "gzip"]
)
def test_ids_in_every_wrapping(tmp_path: Path, content: bytes) -> None:
    trace = trace_of(tmp_path, content)
    assert trace.operations == len(IDS)
    assert list(trace.keys()) == KEYS
    assert list(trace.keys(limit=2, prefix=b"p:")) == [b"p:0", b"p:1"]


def test_several_xz_streams_in_one_file(tmp_path: Path) -> None:
    content = lzma.compress(RAW[:12]) + lzma.compress(RAW[12:])
    assert list(trace_of(tmp_path, content).keys()) == KEYS


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_one_key_per_line(tmp_path: Path, end: bytes) -> None:
    trace = trace_of(tmp_path, b"user:1\r\n\nuser:2 \n" + "schlüssel".encode() + end)
    assert trace.operations == 3
    assert list(trace.keys()) == [b"user:1", b"user:2 ", "schlüssel".encode()]


def test_compressed_text(tmp_path: Path) -> None:
    lines = b"".join(b"key:%d\n" % i for i in range(50_000))
    trace = trace_of(tmp_path, gzip.compress(lines))
    assert trace.operations == 50_000
    assert list(trace.keys())[-1] == b"key:49999"


def test_lines_and_integers_across_chunks(tmp_path: Path) -> None:
    numbers = list(range(1, 100_000))
    trace = trace_of(tmp_path, lzma.compress(struct.pack(f">{len(numbers)}i", *numbers)))
    assert list(trace.keys()) == [b"%d" % number for number in numbers]


def test_the_format_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"abcd\xff\xfe\n\nab")
    assert list(open_trace(path, "text").keys()) == [b"abcd\xff\xfe", b"ab"]
    path.write_bytes(b"abcd")
    assert list(open_trace(path, "ids").keys()) == [b"%d" % 0x61626364]


# Named, since a gzip header holds the time and so would the names pytest makes of the bytes.
DAMAGED: dict[str, tuple[bytes, list[str]]] = {
    "empty": (b"", ["is empty", "byte 0"]),
    "blank lines": (b"\n\r\n\n", ["is empty"]),
    "empty xz": (lzma.compress(b""), ["is empty"]),
    "empty gzip": (gzip.compress(b""), ["is empty"]),
    "integer cut": (RAW[:-1], ["inside an integer", "from byte 28 on"]),
    "integer cut in xz": (lzma.compress(RAW[:9]), ["inside an integer", "from byte 8 on"]),
    "xz cut": (
        lzma.compress(RAW)[:-9],
        ["xz stream breaks off", f"byte {len(lzma.compress(RAW)) - 9}"],
    ),
    "xz magic cut": (b"\xfd7zX", ["header of an xz stream", "byte 4"]),
    "xz header only": (b"\xfd7zXZ\x00", ["xz stream breaks off", "byte 6"]),
    "xz of zeros": (b"\xfd7zXZ\x00" + bytes(100), ["xz stream is damaged", "byte 106"]),
    "gzip cut": (gzip.compress(RAW)[:-5], ["gzip stream breaks off"]),
    "gzip checksum": (gzip.compress(RAW)[:-8] + bytes(8), ["gzip stream is damaged"]),
}


@pytest.mark.parametrize(("content", "said"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_named_with_file_byte_and_next_step(
    tmp_path: Path, content: bytes, said: list[str]
) -> None:
    with pytest.raises(TraceError) as caught:
        trace_of(tmp_path, content, "shop.trace")
    message = str(caught.value)
    for part in [str(tmp_path / "shop.trace"), "byte ", *said]:
        assert part in message
    assert message.endswith(f"; {caught.value.next_step}")


def test_damage_far_inside_shows_before_any_key_is_used(tmp_path: Path) -> None:
    content = bytearray(lzma.compress(b"".join(struct.pack(">i", i * i) for i in range(30_000))))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(TraceError, match="xz stream is damaged"):
        trace_of(tmp_path, bytes(content))


@pytest.mark.parametrize("name", ["missing", "."])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(TraceError, match="check the"):
        open_trace(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "operations", "objects"),
    [("web12", 95_607, 13_756), ("orm-busy", 5_000_000, 76_349)],
)
def test_real_traces(name: str, operations: int, objects: int) -> None:
    path = SHARED / "traces" / f"{name}.trace.xz"
    if not path.exists():
        pytest.skip(f"{path} is missing: the traces are not part of the project")
    trace = open_trace(path)
    assert trace.operations == operations
    assert len(set(trace.keys())) == objects
