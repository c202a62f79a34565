"""The options of a URL's query string: which there are, and the types of their values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, SupportsFloat
from urllib.parse import parse_qsl

import redis
from redis.connection import parse_url as parse_redis_url

from cachemesh.core.errors import ConfigurationError
from cachemesh.core.policy import BOOLEANS, OPTIONS
from cachemesh.discovery.metaserver_tls import TLS_OPTIONS

_SIGNATURE = inspect.signature(redis.Redis.__init__).parameters
_REDIS_OPTIONS = frozenset(_SIGNATURE) - {
    "self",
    "host",
    "port",
    "connection_pool",
    "unix_socket_path",
}
OWN_OPTIONS = frozenset(
    {
        "token",
        "token_file",
        "password_file",
        *TLS_OPTIONS,
        "sentinel_username",
        "sentinel_password",
        "sentinel_password_file",
        "sentinel_ssl",
        "sentinel_timeout",
        "shards",
        "snapshot_dir",
        "zookeeper_auth",
        "zookeeper_auth_file",
        "zookeeper_auth_scheme",
        "zookeeper_ssl",
    }
)
"""Options that concern neither `redis.Redis` nor the policy."""

_CLIENT_SIDE = "replies are not cached in the client; leave it out"
_REFUSED = {"cache": _CLIENT_SIDE, "cache_config": _CLIENT_SIDE}


def query_options(query: str) -> dict[str, Any]:
    """Return the options of a query string, with the types that they have as keywords.

    Raises:
        ConfigurationError: an option is not known, or its value is not of its type.
    """
    if not query:
        return {}
    check_names(dict(parse_qsl(query, keep_blank_values=True)))
    parse: Callable[[str], dict[str, Any]] = parse_redis_url
    try:
        options = parse(f"redis://localhost/?{query}")
    except ValueError as error:
        raise ConfigurationError(f"The URL's query string: {error}") from error
    options.pop("host", None)
    return {name: _typed(name, value) for name, value in options.items()}


def _typed(name: str, value: Any) -> Any:
    """Convert an option that redis-py's URL parser leaves a string to the type of its default."""
    default = _SIGNATURE[name].default if name in _SIGNATURE else None
    if not isinstance(value, str) or not isinstance(default, (bool, int)):
        return value
    if isinstance(default, bool):
        return boolean(name, value)
    if value.isdigit():
        return int(value)
    raise ConfigurationError(f"Option {name} takes a whole number")


def boolean(name: str, value: object) -> bool:
    """Return the value of an option that takes true or false.

    Args:
        name: of the option.
        value: a bool, or text as in a URL.

    Raises:
        ConfigurationError: it is neither true nor false.
    """
    wanted = BOOLEANS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(wanted, bool):
        raise ConfigurationError(f"Option {name} takes true or false")
    return wanted


def check_names(options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError if an option is not known, or not offered."""
    for name in _REFUSED.keys() & options.keys():
        raise ConfigurationError(f"Option {name} is not offered: {_REFUSED[name]}")
    for name in options:
        if name not in _REDIS_OPTIONS and name not in OWN_OPTIONS | OPTIONS:
            raise ConfigurationError(
                f"Unknown option {name!r:.60}; options are those of redis.Redis "
                f"(not its host, port or pool) and {', '.join(sorted(OWN_OPTIONS | OPTIONS))}"
            )


def check_timeouts(options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError unless redis-py's timeouts are seconds or None."""
    for name in ("socket_timeout", "socket_connect_timeout"):
        value = options.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
            raise ConfigurationError(f"Option {name} takes seconds, or None to wait for ever")


def seconds(name: str, value: object) -> float:
    """Return the value of an option that takes seconds.

    Raises:
        ConfigurationError: it is no number, or out of bounds.
    """
    try:
        number = float(value) if isinstance(value, (str, SupportsFloat)) else -1.0
    except (ValueError, OverflowError):
        number = -1.0
    if not 0 < number <= 3600:
        raise ConfigurationError(f"Option {name} takes seconds, more than 0 and at most 3600")
    return number
