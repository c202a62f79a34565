"""Passwords that stand in files, so that neither a URL nor the environment has to hold them.

A file is read for each connection: a password that was replaced counts from the next one on.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis
from redis.credentials import CredentialProvider

from cachemesh.core.errors import ConfigurationError


class PasswordFile(CredentialProvider):
    """Gives redis-py the user and the password that is in a file.

    Args:
        file: holds the password; a line end after it does not count.
        username: None for the default user.
    """

    def __init__(self, file: Path, username: str | None = None) -> None:
        self.file, self.username = file, username

    def __repr__(self) -> str:
        return f"PasswordFile({str(self.file)!r})"

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the user, if one is given, and the password.

        Raises:
            redis.AuthenticationError: the file cannot be read. The message names the file.
        """
        try:
            password = self.file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise redis.AuthenticationError(f"password file {self.file}: {reason}") from error
        return (password,) if self.username is None else (self.username, password)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return what `get_credentials` does: a small file is read without a thread."""
        return self.get_credentials()


@functools.lru_cache(maxsize=1024)  # clients with the same login share what they know of a pool
def _password_file(file: Path, username: str | None) -> PasswordFile:
    return PasswordFile(file, username)


def with_password_file(options: Mapping[str, Any], file: str | None) -> dict[str, Any]:
    """Return options of redis-py that log in with the password of a file; None: as they are.

    Raises:
        ConfigurationError: the options have a password besides, or the file cannot be read.
    """
    if file is None:
        return dict(options)
    for other in ("password", "credential_provider"):
        if options.get(other) is not None:
            raise ConfigurationError(f"Give option password_file or {other}, not both")
    rest = {name: value for name, value in options.items() if name != "username"}
    return {**rest, "credential_provider": read_now(file, options.get("username"))}


def read_now(file: str, username: str | None = None) -> PasswordFile:
    """Return a password file that can be read.

    Raises:
        ConfigurationError: it cannot be read.
    """
    found = _password_file(Path(file).expanduser().absolute(), username)
    try:
        found.get_credentials()
    except redis.AuthenticationError as error:
        raise ConfigurationError(f"{error}; check its path and who may read it") from error
    return found
