"""The OpenAPI document, requests checked against it, and problem documents."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from openapi_spec_validator import validate

from metaserver.api.contract import BY_ID, OPERATIONS, check_body, check_query, openapi
from metaserver.api.idempotency import SECRET
from metaserver.api.problem_details import PROBLEMS, problem_document
from metaserver.domain.errors import ErrorCode, RequestRefused

SHARD = {"name": "cache-3", "master": "10.0.0.4:6379"}
POOL = {"pool": "cache", "sentinels": ["10.0.0.1:26379"], "shards": [SHARD]}


def test_the_document_is_valid_openapi() -> None:
    validate(openapi())
    assert openapi()["openapi"].startswith("3.1")


def test_only_probes_need_no_token() -> None:
    public = {each.id for each in OPERATIONS if each.access == "public"}
    assert public == {"livez", "readyz", "leader", "openapi"}


def test_changes_take_an_admin() -> None:
    for operation in OPERATIONS:
        if operation.method != "GET" and operation.id not in ("watchPool", "leavePool"):
            assert operation.access == "admin", operation.id


def test_no_answer_with_the_text_of_a_token_is_kept() -> None:
    schemas = openapi()["components"]["schemas"]
    replies = {operation.reply for operation in OPERATIONS} & set(schemas)
    told = {name for name in replies if "token" in schemas[name]["properties"]}
    assert told == set(SECRET)


@pytest.mark.parametrize(
    ("operation", "body", "field"),
    [
        ("addShard", [], "body"),
        ("addShard", None, "body"),
        ("addShard", {}, "name"),
        ("addShard", {"name": "a"}, "master"),
        ("addShard", {**SHARD, "name": "a\r\nSLAVEOF"}, "name"),
        ("addShard", {**SHARD, "name": "a" * 65}, "name"),
        ("addShard", {**SHARD, "name": ""}, "name"),
        ("addShard", {**SHARD, "name": ["a"]}, "name"),
        ("addShard", {**SHARD, "master": 6379}, "master"),
        ("addShard", {**SHARD, "weight": 0}, "weight"),
        ("addShard", {**SHARD, "weight": -5}, "weight"),
        ("addShard", {**SHARD, "weight": True}, "weight"),
        ("addShard", {**SHARD, "weight": 1.5}, "weight"),
        ("addShard", {**SHARD, "weight": "1"}, "weight"),
        ("addShard", {**SHARD, "colour": "red"}, "colour"),
        ("addShard", {**SHARD, "dry_run": "yes"}, "dry_run"),
        ("addShard", {**SHARD, "version": 0}, "version"),
        ("setPlacement", {"placement": {}}, "placement.strategy"),
        ("setPlacement", {"placement": {"strategy": "x"}}, "placement.strategy"),
        ("setPlacement", {"placement": {"strategy": "slots", "x": 1}}, "placement.x"),
        ("setPlacement", {"strategy": "slots"}, "strategy"),
        ("setWeight", {}, "weight"),
        ("setWeight", {"weight": 1001}, "weight"),
        ("createPool", {**POOL, "sentinels": []}, "sentinels"),
        ("createPool", {**POOL, "sentinels": ["a:1", "a:1"]}, "sentinels"),
        ("createPool", {**POOL, "shards": []}, "shards"),
        ("createPool", {**POOL, "shards": [{**SHARD, "weight": 0}]}, "shards[0].weight"),
        ("createPool", {**POOL, "shards": [{**SHARD, "x": 0}]}, "shards[0].x"),
        ("createPool", {**POOL, "shards": [SHARD, {"name": "b"}]}, "shards[1].master"),
        ("changeSettings", {"settings": {"command_timeout": "1"}}, "settings.command_timeout"),
        ("changeSettings", {"settings": {"command_timeout": 0}}, "settings.command_timeout"),
        ("changeSettings", {"settings": {"unheard_of": 1}}, "settings.unheard_of"),
        ("watchPool", {"client": "", "version": 1}, "client"),
        ("watchPool", {"client": "a", "version": -1}, "version"),
        ("watchPool", {"client": "a", "version": 1, "wait": 61}, "wait"),
        ("watchPool", {"client": "a", "version": 1, "stats": []}, "stats"),
        ("createToken", {"name": "a", "role": "root"}, "role"),
        ("pausePool", {"reason": "two\nlines"}, "reason"),
        ("pausePool", {"reason": "x" * 201}, "reason"),
        ("pausePool", {"by": "somebody else"}, "by"),
    ],
)
def test_a_bad_body_names_the_field(operation: str, body: Any, field: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        check_body(BY_ID[operation], body)
    problem = caught.value
    assert problem.code == "bad-request"
    assert problem.extra["field"] == field
    assert field in problem.detail
    assert problem.next_step
    assert len(str(problem)) < 400


def test_an_integer_may_be_written_with_a_point() -> None:
    body = check_body(BY_ID["addShard"], {**SHARD, "weight": 3.0, "version": 2.0})
    assert [type(body[name]) for name in ("weight", "version")] == [int, int]
    kept = {"backup": {"a": 1.0}}
    assert type(check_body(BY_ID["restoreBackup"], kept)["backup"]["a"]) is float
    assert check_query(BY_ID["listEvents"], [("limit", "7.0")])["limit"] == 7


def test_good_bodies() -> None:
    assert check_body(BY_ID["addShard"], SHARD) == SHARD
    assert check_body(BY_ID["createPool"], POOL) == POOL
    settings = {"settings": {"command_timeout": None, "of_the_future": None, "poll_interval": 1}}
    assert check_body(BY_ID["changeSettings"], settings) == settings


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("version", "x"),
        ("version", ""),
        ("version", "0"),
        ("version", "9" * 30),
        ("dry_run", "1"),
        ("dry_run", "True"),
        ("strategy", "copy"),
        ("colour", "red"),
    ],
)
def test_a_bad_query_names_the_parameter(name: str, text: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        check_query(BY_ID["removeShard"], [(name, text)])
    assert caught.value.extra["field"] == name
    assert name in caught.value.detail


def test_good_queries() -> None:
    query = check_query(BY_ID["removeShard"], [("version", "7"), ("dry_run", "true")])
    how = {"strategy": "move", "keys_per_second": 0, "max_latency": 0}
    look = {"sample": 10_000, "big_key": 1024 * 1024}
    assert query == {"version": 7, "dry_run": True, **how, **look}
    assert check_query(BY_ID["listEvents"], []) == {"after": 0, "limit": 100}


def test_an_unknown_setting_is_told_which_there_are() -> None:
    with pytest.raises(RequestRefused, match=r"no such setting; name .*command_timeout, "):
        check_body(BY_ID["changeSettings"], {"settings": {"unheard_of": 1}})


def test_a_parameter_given_twice() -> None:
    with pytest.raises(RequestRefused, match="twice"):
        check_query(BY_ID["removeShard"], [("version", "7"), ("version", "8")])


def test_every_error_code_has_an_http_status() -> None:
    assert set(PROBLEMS) == set(get_args(ErrorCode))
    for code, (status, title) in PROBLEMS.items():
        problem = problem_document(RequestRefused(code, "detail", "next"), "/v1")
        assert status >= 400
        assert problem["title"] == title
        assert problem["type"] == f"urn:cachemesh:problem:{code}"
