"""Tokens: how they are listed, what is asked for, and what a change of one would do."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from dashboard.forms import InputError
from dashboard.token_view import (
    ShownToken,
    plan_revocation,
    plan_rotation,
    plan_token,
    token_row,
    wanted_token,
)
from dashboard.tokens import NewTokenForm
from dashboard.upstream import OperatorProblem

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)


def token(**changes: Any) -> dict[str, Any]:
    return {
        "id": "t1",
        "name": "shop",
        "role": "read",
        "pools": None,
        "created": "2026-01-01T00:00:00.000Z",
        "expires": None,
        "former_until": None,
        "last_used": None,
    } | changes


def test_a_token_that_is_good_for_ever_and_for_all_pools() -> None:
    row = token_row(token(), NOW)
    assert (row.pools, row.expires, row.standing, row.former) == ("all", "never", "good", "")
    assert row.last_used is None


@pytest.mark.parametrize(
    ("expires", "words", "standing"),
    [
        ("2026-03-01T11:59:00Z", "2026-03-01 11:59 UTC", "expired"),
        ("2026-03-04T12:00:00Z", "2026-03-04 12:00 UTC, in 3 d", "soon"),
        ("2026-05-30T12:00:00Z", "2026-05-30 12:00 UTC, in 90 d", "good"),
    ],
)
def test_when_a_token_expires(expires: str, words: str, standing: str) -> None:
    row = token_row(token(expires=expires, pools=["a", "b"]), NOW)
    assert (row.expires, row.standing, row.pools) == (words, standing, "a, b")


def test_the_text_from_before_is_told_of_as_long_as_it_is_good() -> None:
    good = token_row(token(former_until="2026-03-01T13:00:00Z"), NOW)
    assert good.former == "2026-03-01 13:00 UTC"
    assert token_row(token(former_until="2026-03-01T11:00:00Z"), NOW).former == ""


def test_what_is_asked_of_the_metaserver() -> None:
    assert wanted_token("shop", "read", "", "").body() == {"name": "shop", "role": "read"}
    assert wanted_token("ops", "admin", "a, b a", "90d").body() == {
        "name": "ops",
        "role": "admin",
        "pools": ["a", "b"],
        "expires_in": 90 * 86_400,
    }


@pytest.mark.parametrize(
    ("entered", "field"),
    [
        (("two words", "read", "", ""), "name"),
        (("shop", "root", "", ""), "role"),
        (("shop", "read", "a, -b", ""), "pools"),
        (("shop", "read", "", "soon"), "expires"),
    ],
)
def test_what_cannot_be_asked_for_names_its_field(
    entered: tuple[str, str, str, str], field: str
) -> None:
    with pytest.raises(InputError) as refused:
        wanted_token(*entered)
    assert refused.value.field == field


def test_the_plan_of_a_new_token_says_how_much_it_may_do() -> None:
    plan = plan_token(wanted_token("shop", "read", "cache", "1d"), ["ops"], ["cache"], NOW)
    assert plan.summary == (
        "create read token shop, good for pool cache, until 2026-03-02 12:00 UTC, in 24 h"
    )
    assert plan.warnings == ()
    plan = plan_token(wanted_token("ops", "admin", "", ""), [], [], NOW)
    assert plan.summary == "create admin token ops, good for all pools, for ever"
    assert "create and revoke tokens" in plan.warnings[0]
    plan = plan_token(wanted_token("shop", "read", "later", ""), [], ["cache"], NOW)
    assert plan.warnings == ("there is no pool later yet",)
    with pytest.raises(InputError) as refused:
        plan_token(wanted_token("shop", "read", "", ""), ["shop"], [], NOW)
    assert (refused.value.field, refused.value.problem.status) == ("name", 409)


def test_the_plans_of_another_text_and_of_none() -> None:
    row = token_row(token(), NOW)
    plan = plan_rotation(row, 3600, NOW)
    assert "until 2026-03-01 13:00 UTC" in plan.summary and plan.destroys == ()
    assert "locked out at once" in plan_rotation(row, 0, NOW).destroys[0]
    assert "locked out at once" in plan_revocation(row).destroys[0]
    assert plan_rotation(row, 10**14, NOW).summary, "the metaserver refuses so long a time"


def test_the_text_of_a_token_is_in_no_repr() -> None:
    assert "secret" not in repr(ShownToken("shop", "read", "all", "never", "secret"))


@pytest.mark.parametrize(
    ("code", "detail", "field"),
    [
        ("bad-request", "expires_in: 0 is out of range: from 1 to 316224000", "expires"),
        ("bad-request", 'pools[1]: "-b" is not valid: 1 to 64 characters', "pools"),
        ("token-exists", "There is a token named 'shop' already", "name"),
        ("forbidden", "Token 'ops' is limited to a", ""),
    ],
)
def test_the_field_that_a_refusal_is_about(code: str, detail: str, field: str) -> None:
    assert NewTokenForm().field_of(OperatorProblem("Title", detail, code=code)) == field
