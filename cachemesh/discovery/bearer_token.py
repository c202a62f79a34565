"""The bearer token for metaservers, and the file that it is in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cachemesh.core.errors import ConfigurationError


class BearerToken:
    """A bearer token. One from a file is read again when a metaserver no longer takes it.

    Threads may share one. Two are equal that come from the same file, or have the same text.

    Args:
        text: the token itself; never shown by ``repr``.
        file: where it was read.
    """

    def __init__(self, text: str, file: Path | None = None) -> None:
        self.text = text
        self._file = file

    def __repr__(self) -> str:
        return "BearerToken(...)" if self._file is None else f"BearerToken({str(self._file)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BearerToken) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[Path | None, str | None]:
        return self._file, self.text if self._file is None else None

    def replaced(self, refused: str) -> bool:
        """Return whether there is another text than the one that was refused, now in ``text``."""
        if self.text != refused or self._file is None:
            return self.text != refused
        try:
            self.text = _read(self._file)
        except ConfigurationError:
            return False  # it is being replaced, or gone: the refusal says more
        return self.text != refused


def find_token(
    token: str | None, token_file: str | None, environ: Mapping[str, str] | None = None
) -> BearerToken | None:
    """Return the bearer token to use, None if none is configured.

    Args:
        token: the token itself.
        token_file: path of a file that holds the token.
        environ: holds CACHEMESH_TOKEN or CACHEMESH_TOKEN_FILE, which count if neither is given.

    Raises:
        ConfigurationError: the file cannot be read, or the token is not one word of ASCII. The
            message names the file, never the token.
    """
    environ = environ or {}
    if token is None and token_file is None:
        token, token_file = environ.get("CACHEMESH_TOKEN"), environ.get("CACHEMESH_TOKEN_FILE")
    if token:
        return BearerToken(_checked(token.strip(), "The token"))
    if not token_file:
        return None
    file = Path(token_file).expanduser()
    return BearerToken(_read(file), file)


def read_token(
    token: str | None, token_file: str | None, environ: Mapping[str, str] | None = None
) -> str | None:
    """Return the text of `find_token`."""
    found = find_token(token, token_file, environ)
    return None if found is None else found.text


def _read(file: Path) -> str:
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not plain ASCII"
        raise ConfigurationError(f"Token file {file}: {reason}") from error
    return _checked(text, f"The token in {file}")


def _checked(token: str, what: str) -> str:
    # The message must not contain the token.
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(f"{what} is empty or not one word of printable ASCII")
    return token
