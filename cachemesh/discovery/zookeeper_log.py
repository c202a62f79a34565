"""Loggers for kazoo, which logs each request, also a login with its password, at level DEBUG."""

from __future__ import annotations

import logging


def logger_without_logins(name: str) -> logging.Logger:
    """Return the logger of that name, which drops what kazoo logs of logins."""
    logger = logging.getLogger(name)
    logger.addFilter(_is_no_login)  # once, however often it is called
    return logger


def _is_no_login(record: logging.LogRecord) -> bool:
    arguments = record.args if isinstance(record.args, tuple) else ()
    return not any(type(each).__name__ == "Auth" for each in arguments)
