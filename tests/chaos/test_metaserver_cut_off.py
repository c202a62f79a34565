"""A metaserver that is cut off from ZooKeeper still grants leases: no stale read comes of it.

A resize elsewhere waits until the leases of its clients are over, and fences them; they find the
metaserver that knows of the resize.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from cachemesh import CacheMesh
from cachemesh.core.errors import FencedError
from cachemesh.local import LocalStack
from tests.support.both_clients import CLIENTS, Caller, calling
from tests.support.metaserver_process import Api, Metaserver
from tests.support.relay import Relay
from tests.support.waiting import AT_MOST, until
from tests.support.zookeeper import Ensemble

LEASE = 3.0  # seconds
KEYS = [f"key-{number}" for number in range(200)]


@contextmanager
def metaservers(
    directory: Path, ensemble: Ensemble, relay: Relay
) -> Iterator[tuple[Metaserver, Metaserver]]:
    """Run one metaserver on the ensemble, and one behind a relay."""
    options = ("--lease", str(LEASE), "--session-timeout", "4")
    hosts, chroot = (ensemble.hosts, relay.address), uuid.uuid4().hex
    with ExitStack() as running:
        whole, cut_off = (
            Metaserver(directory, *options, store=("--zookeeper", f"{each}/{chroot}"))
            for each in hosts
        )
        for each in (whole, cut_off):
            running.enter_context(each)
        yield whole, cut_off


def make_pool(stack: LocalStack, api: Api) -> None:
    shards = [
        {"name": f"c-{number}", "master": str(stack.start_redis().address)} for number in (0, 1)
    ]
    body = {"pool": "c", "sentinels": stack.info["sentinels"], "shards": shards}
    assert api("POST", "/v1/pools", body).status == 201


def unless_fenced(app: Caller) -> set[str] | None:
    """Return the values of all keys; None if the app was refused."""
    try:
        return set(app.driven.mget(KEYS))
    except FencedError:
        return None


def owners(api: Api) -> list[str]:
    """Return the shards that own keys by now."""
    placement = api("GET", "/v1/pools/c").json["placement"]
    return [shard["name"] for shard in placement["shards"]]


def watches(api: Api, count: int) -> bool:
    found = api("GET", "/v1/pools/c/clients").json["clients"]
    return len(found) == count


def test_no_stale_read_comes_of_it(ensemble: Ensemble, tmp_path: Path) -> None:
    with (
        Relay(str(ensemble.servers[0].address)) as relay,
        LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0, timeout=AT_MOST) as stack,
        metaservers(tmp_path, ensemble, relay) as (whole, cut_off),
        ExitStack() as running,
    ):
        here, there = whole.api(), cut_off.api()
        make_pool(stack, here)
        token = {"token": whole.token(), "decode_responses": True}
        until(lambda: there("GET", "/v1/pools/c").status == 200)
        both = f"cachemesh://{there.address},{here.address}/c"
        apps = [running.enter_context(calling(kind, both, **token)) for kind in CLIENTS]
        other = running.enter_context(CacheMesh.from_url(f"cachemesh://{here.address}/c", **token))
        assert other.mset(dict.fromkeys(KEYS, "before"))
        for app in apps:
            assert set(app.driven.mget(KEYS)) == {"before"}
        until(lambda: watches(here, 2))  # both kinds follow together

        relay.cut("is silent")
        until(lambda: len(here("GET", "/v1/metaservers").json["metaservers"]) == 1)
        for app in apps:
            assert set(app.driven.mget(KEYS)) == {"before"}
        shard = {"name": "c-2", "master": str(stack.start_redis().address)}
        added = here("POST", "/v1/pools/c/shards", shard)
        assert added.status in (201, 202), added.text
        until(lambda: "c-2" in owners(here))
        assert other.mset(dict.fromkeys(KEYS, "after"))
        for app in apps:
            assert until(partial(unless_fenced, app)) == {"after"}, "a stale read"
            assert app.driven.set(KEYS[0], "its own")
            assert other.getset(KEYS[0], "after") == "its own"
        relay.heal()
