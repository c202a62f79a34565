"""A dashboard that browsers reach below a path, such as https://ops.example/cachemesh/.

Whether the reverse proxy takes the path away or leaves it, all links and cookies have it.
Source: PEP 3333 (SCRIPT_NAME and PATH_INFO).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_LONGEST = 200  # characters


def checked_prefix(text: str) -> str:
    """Return a prefix without a slash at its end; "" for none.

    Raises:
        ValueError: it is not of the form /path or /longer/path.
    """
    prefix = text.rstrip("/")
    if prefix and not (
        len(prefix) <= _LONGEST
        and _PREFIX.fullmatch(prefix)
        and not any(set(part) <= {"."} for part in prefix[1:].split("/"))
    ):
        raise ValueError(f"{text!r:.80} is no path; write it like /cachemesh")
    return prefix


class Prefixed:
    """A WSGI app below a prefix.

    Args:
        app: the app.
        prefix: of `checked_prefix`.
        forwarded: take the prefix from X-Forwarded-Prefix where that is valid. Only for a proxy
            that sets or removes the header: else links would lead wherever a browser says.
    """

    def __init__(self, app: App, prefix: str, forwarded: bool = False) -> None:
        self._app = app
        self._prefix = prefix
        self._forwarded = forwarded

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Serve a request."""
        prefix = self._prefix_of(environ)
        path = environ.get("PATH_INFO", "")
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            environ["PATH_INFO"] = path[len(prefix) :] or "/"
        environ["SCRIPT_NAME"] = prefix
        return self._app(environ, start_response)

    def _prefix_of(self, environ: dict[str, Any]) -> str:
        told = environ.get("HTTP_X_FORWARDED_PREFIX", "") if self._forwarded else ""
        try:
            return checked_prefix(told) or self._prefix
        except ValueError:
            return self._prefix
