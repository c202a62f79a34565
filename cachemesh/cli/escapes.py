"""Converts keys and values, which are bytes, from command-line text and to terminal text."""

from __future__ import annotations

import re

import click

_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.?))", re.DOTALL)
_SHORT = {b"\\": b"\\", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_LONG = {byte: name.decode() for name, byte in _SHORT.items()}

escaped_option = click.option(
    "--escaped", is_flag=True, help=r"Read \xHH, \n, \r, \t and \\ as the bytes they stand for."
)


def parse_bytes(text: str, escaped: bool) -> bytes:
    r"""Convert a key or value from the command line to bytes.

    Args:
        text: the argument as Python has it; bytes that are not UTF-8 are kept as they are.
        escaped: whether ``\xHH``, ``\n``, ``\r``, ``\t`` and ``\\`` stand for the usual bytes.

    Raises:
        click.UsageError: the text has another escape.
    """
    raw = text.encode("utf-8", "surrogateescape")
    if not escaped:
        return raw

    def unescape(match: re.Match[bytes]) -> bytes:
        digits, char = match.groups()
        if digits:
            return bytes.fromhex(digits.decode())
        if char in _SHORT:
            return _SHORT[char]
        raise click.UsageError(
            f"{text!r:.100}: after a backslash comes xHH, n, r, t or a second backslash."
        )

    return _ESCAPE.sub(unescape, raw)


def shown(raw: bytes) -> str:
    """Convert bytes to text that --escaped reads back; printable text stays as it is."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and (text or not raw):
        return text
    return "".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\x{b:02x}" for b in raw)


def on_terminal(value: bytes) -> str:
    """Convert a value to text without characters that a terminal would act upon.

    Printable UTF-8 stays as it is. In any other value, control characters and bytes that are not
    UTF-8 become escapes that --escaped reads back, and backslashes are doubled.
    """
    text = value.decode("utf-8", "surrogateescape")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() and char != "\\" else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    raw = char.encode("utf-8", "surrogateescape")
    short = _LONG.get(raw)
    return f"\\{short}" if short else "".join(f"\\x{byte:02x}" for byte in raw)
