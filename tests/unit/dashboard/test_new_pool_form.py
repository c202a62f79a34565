"""The form of a new pool: what it asks of the metaserver, and which field a refusal is about."""

from __future__ import annotations

from typing import Any

import pytest

from dashboard.forms import InputError
from dashboard.new_pool_form import NewPoolForm
from dashboard.upstream import OperatorProblem


def form(**entered: Any) -> NewPoolForm:
    given = {"pool": "cache", "shards": "cache-0=10.0.0.1:6379", "sentinels": "10.0.0.1:26379"}
    return NewPoolForm(**(given | entered))


def test_a_plain_pool() -> None:
    assert form().body() == {
        "pool": "cache",
        "sentinels": ["10.0.0.1:26379"],
        "shards": [{"name": "cache-0", "master": "10.0.0.1:6379"}],
        "strategy": "slots",
    }


def test_a_pool_that_is_taken_over() -> None:
    entered = form(
        shards="a=10.0.0.1:6379,weight=2\r\n\r\n b=[::1]:6379,weight=1,label=10.0.0.2:6379,1\r\n",
        sentinels="s1, s2:26380\r\ns3",
        quorum="2",
        strategy="jedis",
        hash="md5",
        hash_tag="{}",
        unnamed=True,
        allow_nonempty=True,
    )
    assert entered.body() == {
        "pool": "cache",
        "sentinels": ["s1:26379", "s2:26380", "s3:26379"],
        "shards": [
            {"name": "a", "master": "10.0.0.1:6379", "weight": 2},
            {"name": "b", "master": "[::1]:6379", "weight": 1, "label": "10.0.0.2:6379,1"},
        ],
        "strategy": "jedis",
        "hash": "md5",
        "hash_tag": "{}",
        "named": False,
        "quorum": 2,
        "allow_nonempty": True,
    }


@pytest.mark.parametrize(
    ("entered", "field", "words"),
    [
        ({"pool": "a pool"}, "pool", "'a pool' is not valid"),
        ({"pool": 60 * "x"}, "pool", "60 characters"),
        ({"shards": ""}, "shards", "There is no shard"),
        ({"shards": "cache-0 10.0.0.1:6379"}, "shards", "is no shard"),
        ({"shards": "cache-0=10.0.0.1:6379,heavy"}, "shards", "is no shard"),
        ({"shards": "cache-0=10.0.0.1:6379,weight=x"}, "shards", "is not a whole number"),
        ({"shards": "cache-0=nowhere"}, "shards", "'nowhere' is not valid"),
        ({"sentinels": " "}, "sentinels", "There is no Sentinel"),
        ({"sentinels": "s1:0"}, "sentinels", "'s1:0' is not valid"),
        ({"quorum": "most"}, "quorum", "'most' is not a whole number"),
    ],
)
def test_what_cannot_be_asked_for_names_its_field(
    entered: dict[str, str], field: str, words: str
) -> None:
    with pytest.raises(InputError) as refused:
        form(**entered).body()
    assert refused.value.field == field
    assert words in refused.value.problem.detail


@pytest.mark.parametrize(
    ("code", "detail", "field"),
    [
        ("pool-exists", "There is a pool 'cache' already", "pool"),
        ("instance-rejected", "10.0.0.1:6379 cannot be reached: refused", "shards"),
        ("shard-exists", "The Sentinels already monitor 'cache-0' at 10.0.0.1:6379", "shards"),
        ("sentinel-failed", "No Sentinel answers (10.0.0.1:26379: refused)", "sentinels"),
        ("bad-request", "shards[0].weight: 0 is out of range: from 1 to 1000", "shards"),
        ("bad-request", "sentinels[1]: the same", "sentinels"),
        ("invalid-content", "quorum: 4 is more than the 3 Sentinels of the pool", "quorum"),
        ("invalid-content", "placement.hash_tag 'x' is neither null nor two", "hash_tag"),
        ("invalid-content", "placement.hash 'md4' is not one that strategy", "hash"),
        ("invalid-content", "label has no meaning with strategy 'slots'", "shards"),
        ("observer", "This metaserver only observes Sentinels", ""),
    ],
)
def test_the_field_that_a_refusal_is_about(code: str, detail: str, field: str) -> None:
    assert form().field_of(OperatorProblem("Title", detail, code=code)) == field


def test_hash_functions_are_told_by_the_strategies_that_have_them() -> None:
    assert form().strategies[0] == "slots" and len(form().strategies) == 4
    assert form().hashes["jedis"] == ("md5", "murmur64a")
    assert "fnv1a_64" in form().hashes["ketama, modula"]
