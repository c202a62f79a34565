"""The next step in an error message fits the source of the pool."""

from __future__ import annotations

from pathlib import Path

import pytest

import cachemesh
from cachemesh.discovery.membership import Membership
from cachemesh.discovery.url import parse_url
from tests.support import rogue_server
from tests.support.both_clients import CLIENTS, calling
from tests.support.sentinels import pool_file


@pytest.mark.parametrize("source", ["sentinel", "file"])
@pytest.mark.parametrize("kind", CLIENTS)
def test_without_a_metaserver_a_sentinel_is_to_be_asked(
    kind: str, source: str, tmp_path: Path
) -> None:
    advice = "ask a Sentinel: SENTINEL MASTER cache-0$"
    with rogue_server.Server(rogue_server.sentinel({"cache-0": ("127.0.0.1", 1)})) as sentinel:
        url = f"cachemesh+sentinel://{sentinel}/cache?shards=cache-0"
        if source == "file":
            url = pool_file(tmp_path / "cache.json", [str(sentinel)], ["cache-0"])
        with calling(kind, url, socket_timeout=0.5) as caller:
            with pytest.raises(cachemesh.ShardUnavailableError, match=advice):
                caller(lambda mesh: mesh.get("k"))
            with pytest.raises(cachemesh.ShardUnavailableError, match=advice):
                caller(lambda mesh: mesh.pubsub().subscribe("news"))


def test_with_a_metaserver_it_is_to_be_asked() -> None:
    member = Membership(parse_url("cachemesh://m/cache", {}), lambda _: None)
    assert member.advice("cache-0") == "see: cachemesh shard show cache-0"
