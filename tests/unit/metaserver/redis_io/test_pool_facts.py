"""What is kept of replies to CONFIG GET and SENTINEL, honest or not."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import redis
from hypothesis import given
from hypothesis import strategies as st

from metaserver.domain.diagnosis.facts import SET
from metaserver.domain.diagnosis.settings import PARAMETERS, SECRETS
from metaserver.redis_io.pool_facts import monitored_facts, settings_in
from metaserver.redis_io.reply_parsers import NotRedisError
from metaserver.redis_io.user_rights import QUEUED, refused_among

WORDS = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([b"ip", b"port", b"name", b"flags", b"runid", b"quorum", b"127.0.0.1"]),
    st.integers(0, 70_000).map(lambda port: str(port).encode()),
    st.just(b"9" * 5000),
)
REPLIES = st.recursive(
    st.one_of(WORDS, st.integers(), st.none()), lambda inner: st.lists(inner, max_size=6)
)


@given(REPLIES, REPLIES, REPLIES, REPLIES)
def test_nonsense_of_a_sentinel_is_one_kind_of_error(
    at: object, master: object, replicas: object, sentinels: object
) -> None:
    with suppress(NotRedisError):
        monitored_facts(at, master, replicas, sentinels)


@given(st.dictionaries(st.integers(0, len(PARAMETERS) - 1), REPLIES, max_size=4))
def test_nonsense_of_an_instance_is_one_kind_of_error(odd: dict[int, Any]) -> None:
    with suppress(NotRedisError):
        dict(settings_in([odd.get(place, []) for place in range(len(PARAMETERS))]))


def test_of_a_secret_only_is_kept_whether_it_is_set() -> None:
    replies: list[object] = [[name.encode(), b"hunter2"] for name in PARAMETERS]
    kept = dict(settings_in(replies))
    assert {kept[name] for name in SECRETS} == {SET}
    unset: list[object] = [[name.encode(), b""] for name in PARAMETERS]
    assert {dict(settings_in(unset))[name] for name in SECRETS} == {""}
    assert "hunter2" not in {kept[name] for name in SECRETS}


def test_parameters_that_a_server_lacks_or_refuses_are_absent() -> None:
    replies: list[object] = [redis.ResponseError("no"), [], *[None] * (len(PARAMETERS) - 2)]
    assert dict(settings_in(replies)) == {}


def test_what_a_refusal_is_about() -> None:
    denied = redis.exceptions.NoPermissionError
    said = {
        "+scan": denied("this user has no permissions to run the 'scan' command"),
        "+get": denied("this user has no permissions to access one of the keys used as arguments"),
        "+publish": denied("No permissions to access a channel"),
        "+set": redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'."),
        "+config|get": redis.ResponseError("unknown command 'CONFIG', with args beginning with:"),
    }
    found = refused_among([(right, QUEUED[right], reply) for right, reply in said.items()])
    assert set(found.lacking) == {"+scan", "~*", "&*"}
    assert found.unknown == ("CONFIG",)
