"""Pools of real servers in which a test configures something wrong, and what a metaserver finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from cachemesh.local import LocalStack
from tests.support.metaserver_process import Api
from tests.support.plain_redis import direct
from tests.support.waiting import until


def told(api: Api) -> dict[str, Any]:
    """Return what the metaserver finds wrong in its pool, and what it could not check."""
    reply = api("GET", "/v1/pools/cache/findings")
    assert reply.status == 200, reply.text
    found: dict[str, Any] = reply.json
    return found


def findings(api: Api) -> list[dict[str, Any]]:
    """Return the findings of `told`."""
    found: list[dict[str, Any]] = told(api)["findings"]
    return found


def rules(api: Api) -> set[str]:
    """Return the names of the rules that find something."""
    return {finding["rule"] for finding in findings(api)}


def is_well(api: Api) -> bool:
    """Return whether everything was checked, and nothing is found."""
    found = told(api)
    return not found["findings"] and not found["not_checked"]


def await_well(api: Api) -> None:
    """Wait until nothing is found."""
    until(lambda: is_well(api))


def await_rules(api: Api, *names: str) -> dict[str, dict[str, Any]]:
    """Wait until these rules alone find something; return the first finding of each."""
    until(lambda: rules(api) == set(names))
    return {finding["rule"]: finding for finding in reversed(findings(api))}


@contextmanager
def configured(addresses: Iterable[str], settings: Mapping[str, object]) -> Iterator[None]:
    """Set parameters of instances for the block, in this order, by CONFIG SET."""
    with ExitStack() as undo:
        for address in addresses:
            client = undo.enter_context(direct(address))
            for name, value in settings.items():
                undo.callback(client.config_set, name, client.config_get(name)[name])
                client.config_set(name, value)
        yield


@contextmanager
def monitored(stack: LocalStack, count: int, option: str, value: object) -> Iterator[None]:
    """Set an option of shard cache-0 at so many Sentinels, for the block."""
    with ExitStack() as undo:
        for address in stack.info["sentinels"][:count]:
            client = undo.enter_context(direct(address))
            row = client.execute_command("SENTINEL", "MASTER", "cache-0")
            flat = [*row] if isinstance(row, list) else [w for pair in row.items() for w in pair]
            before = dict(zip(map(str, flat[::2]), flat[1::2], strict=True))[option]
            words = ("SENTINEL", "SET", "cache-0", option)
            undo.callback(partial(client.execute_command, *words, before))
            client.execute_command(*words, value)
        yield
