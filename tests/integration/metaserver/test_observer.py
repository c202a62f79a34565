"""An observer shows what Sentinels monitor, without a store, and changes nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.local import LocalStack
from metaserver.api.contract import OPERATIONS
from tests.support.metaserver_process import Api, Metaserver, environment
from tests.support.waiting import until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=1, dashboard=False) as stack:
        yield stack


def url_of(stack: LocalStack) -> str:
    return f"cachemesh+sentinel://{','.join(stack.info['sentinels'])}/cache"


@pytest.fixture(scope="module")
def server(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metaserver]:
    directory = tmp_path_factory.mktemp("observer")
    server = Metaserver(directory, store=("--observe", url_of(stack)))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def admin(server: Metaserver) -> Api:
    api = server.start()
    until(lambda: api("GET", "/v1/pools/cache").status == 200)
    return api


def test_it_shows_the_pool_as_clients_of_sentinels_make_it(admin: Api, stack: LocalStack) -> None:
    document = admin("GET", "/v1/pools/cache").json
    even = SlotsPlacement.even([Shard("cache-0"), Shard("cache-1")])
    assert document["placement"] == even.to_dict()
    assert document["sentinels"] == list(stack.info["sentinels"])
    until(lambda: admin("GET", "/v1/pools/cache/status").json["health"] == "ok")
    shards = admin("GET", "/v1/pools/cache/shards").json["shards"]
    assert [shard["master"]["address"] for shard in shards] == [
        shard["master"] for shard in stack.info["shards"]
    ]


def test_the_cli_works_on_it_and_says_what_needs_a_full_one(
    admin: Api, server: Metaserver, stack: LocalStack
) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        at = {
            "CACHEMESH_URL": f"cachemesh://{admin.address}/cache",
            "CACHEMESH_TOKEN_FILE": str(server.token_file),
        }
        return subprocess.run(
            [str(Path(sys.executable).with_name("cachemesh")), *words],
            env={**environment(), **at},
            capture_output=True,
            text=True,
            check=False,
        )

    for words in (
        *(("pool", "status"), ("pool", "show"), ("pool", "convergence"), ("shard", "list")),
        *(("shard", "show", "cache-0"), ("client", "list"), ("event", "list"), ("quality",)),
        ("shard", "connections", "cache-0"),
    ):
        done = run(*words, "-o", "json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) is not None
    assert "read only; changes need a full metaserver" in run("pool", "status").stdout
    refused = run("pool", "set", "command_timeout=2")
    assert refused.returncode == 4
    assert "observes" in refused.stderr
    assert "--db" in refused.stderr


def test_every_change_is_refused(admin: Api) -> None:
    before = admin("GET", "/v1/pools/cache").json
    for operation in OPERATIONS:
        if operation.access == "admin" and operation.method != "GET":
            names = {"pool": "cache", "shard": "cache-0", "sentinel": "s:1", "token": "t"}
            path = operation.path.format_map(names)
            assert admin(operation.method, path, {}).problem == "observer", operation.id
    assert admin("GET", "/v1/pools/cache").json == before


def test_a_restart_keeps_the_token_and_nothing_else(admin: Api, server: Metaserver) -> None:
    before = server.token()
    server.signal(signal.SIGTERM)
    server.wait()
    again = server.start()
    assert again.token == before
    until(lambda: again("GET", "/v1/pools/cache").status == 200)
    assert sorted(path.suffix for path in server.db.parent.iterdir()) == ["", ".log"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("cachemesh://h:1/cache", "cachemesh+sentinel://HOST:PORT"),
        ("cachemesh+sentinel://h:1/cache?sentinel_password=s3cret", "`ps` shows"),
        ("cachemesh+sentinel://h:1/", "pool"),
    ],
)
def test_urls_that_it_does_not_take(url: str, said: str, tmp_path: Path) -> None:
    words = ("--observe", url, "--token-file", str(tmp_path / "token"))
    done = subprocess.run(
        [sys.executable, "-m", "metaserver", *words],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert "s3cret" not in done.stderr
