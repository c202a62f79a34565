"""Any bytes sent to the API get a reply, which is never 500 and never HTML."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metaserver.api.contract import OPERATIONS, Operation
from metaserver.api.contract.schemas import SCHEMAS
from tests.support.metaserver_process import Api
from tests.support.raw_http import exchange, request
from tests.support.unreachable_pools import NOBODY, unreachable_pools

ALLOWED = {200, 201, 204, 400, 403, 404, 405, 408, 409, 413, 414, 417, 422, 429, 431, 501, 502}
FUZZ = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A metaserver with a pool of which no instance and no Sentinel answers."""
    with unreachable_pools(tmp_path_factory.mktemp("fuzz"), {"cache": ["cache-0"]}) as api:
        yield api


numbers = st.one_of(
    st.integers(),
    st.integers(min_value=-3, max_value=3),
    st.floats(),
    st.sampled_from([2**53, 2**63, 10**400, 1e300, float("inf")]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=80), st.just(NOBODY))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=20), inner, max_size=4)
    ),
    max_leaves=12,
)
names = st.one_of(
    st.sampled_from(["cache", "cache-0", "x"]),
    st.text(max_size=40),
    st.text("a/.%\0\n", max_size=9),
)


def bodies(operation: Operation) -> st.SearchStrategy[bytes]:
    """Generate JSON with the operation's fields, of right and wrong types; other JSON; bytes."""
    if operation.body is None:
        return st.binary(max_size=40)
    fields = SCHEMAS[operation.body]["properties"]
    shard = st.fixed_dictionaries({"name": names, "master": st.just(NOBODY)})
    good = st.one_of(
        names, st.just(NOBODY), st.just([NOBODY]), st.integers(0, 9), st.lists(shard, max_size=3)
    )
    filled = st.fixed_dictionaries(
        {}, optional={name: st.one_of(good, scalars, values) for name in fields}
    )
    texts = st.one_of(filled, values).map(lambda body: _text(operation, body))
    return st.one_of(texts, st.binary())


def _text(operation: Operation, body: Any) -> bytes:
    if operation.id == "watchPool" and isinstance(body, dict):
        body["wait"] = 0  # a valid watch would be held for half a minute
    return json.dumps(body).encode()


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """Generate method, path, query and body of an operation, or nearly so."""
    operation = draw(st.sampled_from([each for each in OPERATIONS if each.id != "stream"]))
    path = operation.path
    for parameter in ("pool", "shard", "client", "token"):
        path = path.replace(f"{{{parameter}}}", quote(draw(names), safe="", errors="replace"))
    keys = st.sampled_from([*operation.query, "x"])
    query = draw(st.lists(st.tuples(keys, st.one_of(names, numbers.map(str))), max_size=3))
    if operation.id == "deletePool":
        query = [*query, ("dry_run", "true")]  # the others change nothing with it
    if query:
        path += "?" + urlencode(query, errors="replace")
    method = draw(st.one_of(st.just(operation.method), st.sampled_from(["PUT", "HEAD", "X"])))
    return method, path, draw(bodies(operation))


@FUZZ
@given(call=calls())
def test_calls(api: Api, call: tuple[str, str, bytes]) -> None:
    method, path, body = call
    reply = api(method, path, raw=body)
    assert reply.status in ALLOWED, (call, reply)
    if method == "HEAD" or reply.status == 204:
        return
    if reply.status >= 400:
        assert reply.problem
    elif path.split("?")[0] != "/metrics":
        json.loads(reply.text, parse_constant=lambda name: pytest.fail(name))


WHOLE = [
    request("GET", "/v1/pools", "TOKEN"),
    request("POST", "/v1/pools/cache/watch", "TOKEN", b'{"client": "c", "version": 0}'),
    request("GET", "/v1/events?limit=3", "TOKEN", b"", "Expect: 100-continue"),
    request(
        *("POST", "/v1/tokens", "TOKEN", b"2\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
        length=False,
    ),
]


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """Generate a request with a few bytes replaced, inserted or removed."""
    data = bytearray(draw(st.sampled_from(WHOLE)))
    odd = st.one_of(st.binary(max_size=3), st.sampled_from([b"\r\n", b"\n", b":", b" ", b"\0"]))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(odd)
    return bytes(data)


@FUZZ
@given(data=mangled())
def test_bytes(api: Api, data: bytes) -> None:
    assert api.token is not None
    try:
        talk = exchange(api.address, data.replace(b"TOKEN", api.token.encode()), ends=True)
    except http.client.HTTPException as error:
        pytest.fail(f"{error!r} for {data!r}")
    for reply in talk.replies:
        if reply.status == 100:
            continue
        assert reply.status in ALLOWED | {401}, (data, reply)
        assert b"<html" not in reply.body.lower(), (data, reply)
        if reply.status >= 400 and not data.startswith(b"HEAD"):
            assert reply.problem
