"""The options of `with_options`, and the policy that comes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cachemesh.core.errors import ConfigurationError
from cachemesh.core.policy import Policy, check_options
from cachemesh.core.reads.read_preference import Reading

PER_CALL = ("retry_writes", "on_error", "read_from", "max_lag")


def check_call_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with their types and bounds checked.

    Raises:
        ConfigurationError: an option is none of `PER_CALL`, or does not take its value.
    """
    for name in options:
        if name not in PER_CALL:
            raise ConfigurationError(
                f"with_options takes {', '.join(PER_CALL)}, not {name!r:.60}; others are options "
                "of the client"
            )
    return check_options(options)


def changed_policy(policy: Policy, options: Mapping[str, Any]) -> Policy:
    """Return the policy with what checked options of `with_options` change in it."""
    reading = policy.reading
    return replace(
        policy,
        retry_writes=options.get("retry_writes", policy.retry_writes),
        misses=options["on_error"] == "miss" if "on_error" in options else policy.misses,
        reading=Reading(
            options.get("read_from", reading.read_from), options.get("max_lag", reading.max_lag)
        ),
    )
