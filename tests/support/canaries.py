"""Secrets that are unlike anything else, and the search for them in whatever was written."""

from __future__ import annotations

import base64
import secrets
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field


def new_canary() -> str:
    """Return a secret that differs from its forms in URLs and in base64."""
    return f"cnry/{secrets.token_hex(12)}+x"


@dataclass
class Evidence:
    """What was written, and the secrets that may not be in it.

    Attributes:
        secrets: name -> secret.
        pieces: where from -> what was written there.
    """

    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    pieces: list[tuple[str, bytes]] = field(default_factory=list, repr=False)

    def add(self, source: str, written: str | bytes) -> None:
        """Keep a piece for the search."""
        data = written.encode(errors="surrogateescape") if isinstance(written, str) else written
        self.pieces.append((source, data))

    def found(self) -> list[str]:
        """Return which secret was found where, in which form, with the text around it."""
        return [
            f"{name} ({form}) in {source}: {data[max(0, at - 120) : at + 60]!r}"
            for name, secret in self.secrets.items()
            for form, text in forms(secret)
            for source, data in self.pieces
            if (at := data.find(text)) >= 0
        ]


def forms(secret: str) -> Iterator[tuple[str, bytes]]:
    """Yield each form in which a secret may be written, with its name."""
    plain = secret.encode()
    yield "plain", plain
    yield "hex", plain.hex().encode()
    yield "of a URL", urllib.parse.quote(secret, safe="").encode()
    yield "of a form", urllib.parse.quote_plus(secret).encode()
    for before in range(3):
        # In longer texts; what neighbours may change at both ends is left out.
        whole = base64.b64encode(b"\0" * before + plain)
        text = whole[0 if before == 0 else 4 : len(whole) - 4]
        yield f"base64 after {before}", text
        yield f"base64 of URLs after {before}", text.translate(bytes.maketrans(b"+/", b"-_"))
