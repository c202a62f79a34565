"""How clients and metaservers log in to ZooKeeper, and why kazoo did not connect."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

from cachemesh.core.errors import ConfigurationError

SCHEMES = ("digest", "sasl")


def check_packages(*, sasl: bool = False) -> None:
    """Check that the packages that speak with ZooKeeper are installed.

    Args:
        sasl: whether to log in by SASL.

    Raises:
        ConfigurationError: one is not; names the command that installs it.
    """
    for module, package in (("kazoo", "kazoo"), *((("puresasl", "pure-sasl"),) if sasl else ())):
        if importlib.util.find_spec(module) is None:
            what = "a login to ZooKeeper by SASL" if module == "puresasl" else "cachemesh+zk://"
            raise ConfigurationError(
                f"{what} needs the package {package}; install it with: "
                "pip install 'cachemesh[zookeeper]'"
            )


def login_arguments(login: str | None, *, sasl: bool) -> dict[str, Any]:
    """Return kazoo's arguments of a login.

    Args:
        login: ``user:password``; None for none.
        sasl: by SASL (DIGEST-MD5); else by ZooKeeper's scheme ``digest``.
    """
    if login is None:
        return {}
    if not sasl:
        return {"auth_data": [("digest", login)]}
    user, _, password = login.partition(":")
    options = {"mechanism": "DIGEST-MD5", "username": user, "password": password}
    return {"sasl_options": options}


def no_password() -> str:
    """Return what does not open an encrypted key."""
    return ""


class NotingLogger(logging.Logger):
    """The logger of one client of kazoo; it knows why the last connection did not come about.

    It drops what kazoo logs of logins at level DEBUG: that has the password.

    Attributes:
        last_warning: the last warning about a connection; empty before any.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.parent = logging.getLogger(name)
        self.addFilter(_is_no_login)
        self.last_warning = ""

    def handle(self, record: logging.LogRecord) -> None:
        """Pass a record on to the logger of this name; keep a warning about a connection."""
        if record.levelno == logging.WARNING and record.getMessage().startswith("Connection"):
            self.last_warning = record.getMessage()
        super().handle(record)

    def reason(self) -> str:
        """Return the last warning in brackets, or nothing."""
        told = self.last_warning.replace("error: None", "error: timed out")  # as kazoo says it
        return f" ({told})" if told else ""


def _is_no_login(record: logging.LogRecord) -> bool:
    arguments = record.args if isinstance(record.args, tuple) else ()
    return not any(type(each).__name__ == "Auth" for each in arguments)
