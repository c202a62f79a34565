"""A failover is followed though the first of three Sentinels lies, sends garbage or hangs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from benchmarks.failover import faults
from benchmarks.failover.site import Site, site
from cachemesh.core.names import parse_address
from cachemesh.local.ports import Ports
from tests.support.client_load import under_load
from tests.support.rogue_server import HANG_UP, Server, Words, sentinel

Liar = Callable[[Site], Callable[[Words], "bytes | None"]]


def knows_nobody(here: Site) -> Callable[[Words], bytes | None]:
    return sentinel({})


def names_a_replica(here: Site) -> Callable[[Words], bytes | None]:
    return sentinel({s["name"]: parse_address(s["replicas"][0]) for s in here.stack.info["shards"]})


def names_a_closed_port(here: Site) -> Callable[[Words], bytes | None]:
    return sentinel({shard: ("127.0.0.1", Ports().take()) for shard in here.shards})


def answers_garbage(here: Site) -> Callable[[Words], bytes | None]:
    return lambda words: b"HTTP/1.1 400 Bad Request\r\n\r\n"


def answers_numbers(here: Site) -> Callable[[Words], bytes | None]:
    return lambda words: b":7\r\n"


def says_nothing(here: Site) -> Callable[[Words], bytes | None]:
    return lambda words: None


def hangs_up(here: Site) -> Callable[[Words], bytes | None]:
    return lambda words: HANG_UP


LIARS = (
    knows_nobody,
    names_a_replica,
    names_a_closed_port,
    answers_garbage,
    answers_numbers,
    says_nothing,
    hangs_up,
)


@pytest.mark.parametrize("liar", LIARS)
def test_a_failover_is_followed_nevertheless(liar: Liar) -> None:
    with ExitStack() as stack:
        here = stack.enter_context(site(1, replicas=1, streaming=False))
        bad = stack.enter_context(Server(liar(here)))
        honest = here.stack.info["sentinels"]
        lied_to = Site.of(here.stack, [str(bad), *honest[1:]])
        shard = here.shards[0]
        with under_load(lied_to, hit=shard):
            faults.sentinel_failover(here, shard)
