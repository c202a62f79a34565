"""Clients that find metaservers in ZooKeeper speak TLS to those that serve it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from cachemesh.core.errors import ConfigurationError
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.metaserver_tls import TLS_OPTIONS, MetaserverTls
from cachemesh.local import LocalStack
from tests.support.both_clients import CLIENTS, calling
from tests.support.needs import needs
from tests.support.waiting import AT_MOST, PATIENT


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    for program in ("java", "/usr/share/java/zookeeper.jar"):
        needs(program)
    with LocalStack(
        shards=1,
        replicas=0,
        sentinels=1,
        zookeeper=True,
        tls=True,
        dashboard=False,
        timeout=AT_MOST,
    ) as running:
        yield running


def options_of(stack: LocalStack) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(stack.info["url"]).query))


def url_of(stack: LocalStack, *without: str) -> str:
    options = options_of(stack)
    query = urlencode({name: value for name, value in options.items() if name not in without})
    return f"cachemesh+zk://{stack.info['zookeeper']}/cachemesh/cache?{query}"


def is_known(stack: LocalStack, app: Any) -> bool:
    """Return whether a metaserver knows the client."""
    addresses = [f"https://{address}" for address in stack.info["metaservers"]]
    tls = MetaserverTls.from_options(options_of(stack))
    api = MetaserverClient(addresses, stack.token, tls=tls)
    clients = api.request("GET", "/v1/pools/cache/clients")["clients"]
    return app.mesh._core.client_id() in [each["client"] for each in clients]


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_client_speaks_tls_to_them(stack: LocalStack, kind: str) -> None:
    with calling(kind, url_of(stack), token=stack.token, **PATIENT) as app:
        assert app(lambda mesh: mesh.set("k", "v"))
        assert is_known(stack, app)


def test_a_client_that_does_not_trust_them_sends_them_nothing(stack: LocalStack) -> None:
    url = url_of(stack, *TLS_OPTIONS)
    with calling("sync", url, token=stack.token, **PATIENT) as app:
        assert app(lambda mesh: mesh.set("k", "v"))
        assert not is_known(stack, app)


def test_no_other_is_taken_where_files_for_tls_are_given() -> None:
    client = MetaserverClient.without_addresses("secret", tls=MetaserverTls())
    with pytest.raises(ConfigurationError, match=r"10\.0\.0\.1:7700 serves no TLS.*clear text"):
        client.use(["https://10.0.0.2:7700", "10.0.0.1:7700"])
    assert client.addresses == ()
