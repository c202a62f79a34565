"""Tokens as their pages show them: the list, and what a change of one would do."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cachemesh.core.durations import duration_seconds
from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.names import check_name
from dashboard.format import duration, parse_time
from dashboard.forms import InputError
from dashboard.upstream import Json, OperatorProblem

ROLES = ("read", "admin")
_SOON = timedelta(days=7)


@dataclass(frozen=True)
class TokenRow:
    """A token of the list.

    Attributes:
        id, name, role: as the metaserver has them.
        pools: what it is good for, in words.
        created, last_used: None where the metaserver does not tell.
        expires: when, in words.
        former: until when the text from before is good too, in words; "" where there is none.
        standing: "expired", "soon" or "good".
    """

    id: str
    name: str
    role: str
    pools: str
    created: datetime | None
    last_used: datetime | None
    expires: str
    former: str
    standing: str


@dataclass(frozen=True)
class TokenPlan:
    """What a change of tokens would do.

    Attributes:
        summary: the change in one line.
        destroys: what is lost, one sentence each.
        warnings: what to think of, one sentence each.
    """

    summary: str
    destroys: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class WantedToken:
    """A token to be created.

    Attributes:
        pools: the only ones that it is good for; None: all.
        expires_in: seconds; None: it is good for ever.
    """

    name: str
    role: str
    pools: tuple[str, ...] | None
    expires_in: int | None

    def body(self) -> dict[str, object]:
        """Return the body of the request that creates it."""
        wanted: dict[str, object] = {"name": self.name, "role": self.role}
        if self.pools is not None:
            wanted["pools"] = list(self.pools)
        if self.expires_in is not None:
            wanted["expires_in"] = self.expires_in
        return wanted


@dataclass(frozen=True)
class ShownToken:
    """A token whose text is shown, this once.

    Attributes:
        text: is nowhere else.
        pools, expires: in words.
        former_until: until when the text from before is good too, in words; "" for a new token.
    """

    name: str
    role: str
    pools: str
    expires: str
    text: str = field(repr=False)
    former_until: str = ""


def token_rows(tokens: Sequence[Json], now: datetime) -> tuple[TokenRow, ...]:
    """Return the list of all tokens, oldest first."""
    return tuple(token_row(token, now) for token in tokens)


def token_row(token: Json, now: datetime) -> TokenRow:
    """Return a token as the list shows it."""
    ends = _time(token.get("expires"))
    former = _time(token.get("former_until"))
    return TokenRow(
        id=str(token["id"]),
        name=str(token["name"]),
        role=str(token["role"]),
        pools=pools_in_words(token.get("pools")),
        created=_time(token.get("created")),
        last_used=_time(token.get("last_used")),
        expires=_expiry(ends, now),
        former="" if former is None or former <= now else _moment(former),
        standing=_standing(ends, now),
    )


def _standing(ends: datetime | None, now: datetime) -> str:
    if ends is None:
        return "good"
    return "expired" if ends <= now else "soon" if ends - now < _SOON else "good"


def _expiry(ends: datetime | None, now: datetime) -> str:
    if ends is None:
        return "never"
    left = (ends - now).total_seconds()
    return _moment(ends) + (f", in {duration(left)}" if left > 0 else "")


def pools_in_words(pools: Collection[str] | None) -> str:
    """Return which pools a token is good for; None: all."""
    return "all" if pools is None else ", ".join(pools)


def shown_token(made: Json, now: datetime) -> ShownToken:
    """Return a token with its text, from the metaserver's reply to the change."""
    former = _time(made.get("former_until"))
    return ShownToken(
        name=str(made["name"]),
        role=str(made["role"]),
        pools=pools_in_words(made.get("pools")),
        expires=_expiry(_time(made.get("expires")), now),
        text=str(made["token"]),
        former_until="" if former is None else _moment(former),
    )


def wanted_token(name: str, role: str, pools: str, expires: str) -> WantedToken:
    """Return the token that a user asks for.

    Args:
        name, role: as entered.
        pools: names with commas or blanks between; "" for all.
        expires: a duration; "" for one that does not.

    Raises:
        InputError: a field does not hold what it should.
    """
    if role not in ROLES:
        problem = OperatorProblem("No role is chosen", "A token has a role.", "Choose one.")
        raise InputError(problem, "role")
    return WantedToken(
        _checked("token", name, "name"),
        role,
        tuple(dict.fromkeys(_checked("pool", each, "pools") for each in words_of(pools))) or None,
        seconds_in(expires, "expires") if expires else None,
    )


def words_of(text: str) -> list[str]:
    """Return the words of a text, which commas or blanks separate."""
    return [word for word in re.split(r"[\s,]+", text) if word]


def _checked(kind: str, name: str, name_of_field: str) -> str:
    try:
        return check_name(kind, name)
    except InvalidDocumentError as error:
        problem = OperatorProblem(f"That is not the name of a {kind}", f"{error}.")
        raise InputError(problem, name_of_field) from error


def seconds_in(text: str, name_of_field: str) -> int:
    """Return a duration that a user has entered, in seconds. Raises InputError: it is none."""
    seconds = duration_seconds(text)
    if seconds is None:
        problem = OperatorProblem(
            "That is not a duration", f"{text!r} is none.", "Write it like 45s, 30m, 12h or 90d."
        )
        raise InputError(problem, name_of_field)
    return seconds


def plan_token(
    wanted: WantedToken, names: Collection[str], pools: Collection[str], now: datetime
) -> TokenPlan:
    """Plan a new token.

    Args:
        names: of the tokens that there are.
        pools: that there are.

    Raises:
        InputError: there is a token of this name.
    """
    if wanted.name in names:
        raise InputError(
            OperatorProblem(
                "The token exists already",
                f"There is a token named {wanted.name!r} already.",
                "Choose another name, or rotate that token.",
                "token-exists",
                409,
            ),
            "name",
        )
    only = "all pools" if wanted.pools is None else f"pool {pools_in_words(wanted.pools)}"
    until = "for ever"
    if wanted.expires_in is not None:
        until = f"until {_expiry(_after(now, wanted.expires_in), now)}"
    unknown = [pool for pool in wanted.pools or () if pool not in pools]
    warnings = [f"there is no pool {pool} yet" for pool in unknown]
    if wanted.role == "admin":
        warnings.append(_ADMIN if wanted.pools is None else _POOL_ADMIN)
    return TokenPlan(
        f"create {wanted.role} token {wanted.name}, good for {only}, {until}",
        warnings=tuple(warnings),
    )


_ADMIN = "who has it may change and delete every pool, and create and revoke tokens"
_POOL_ADMIN = "who has it may change and delete these pools"
_OWN = "if you are signed in with this token, sign in again"


def plan_rotation(token: TokenRow, overlap: int, now: datetime) -> TokenPlan:
    """Plan another text for a token.

    Args:
        overlap: seconds for which the text from before is good too.
    """
    summary = f"give token {token.name} another text"
    if not overlap:
        lost = f"the text from before: who uses token {token.name} is locked out at once"
        return TokenPlan(f"{summary} at once", (lost,), (f"{_OWN} with the new text",))
    until = _expiry(_after(now, overlap), now)
    return TokenPlan(
        f"{summary}; the one from before is good too, until {until}",
        warnings=(f"{_OWN} with the new text by then",),
    )


def plan_revocation(token: TokenRow) -> TokenPlan:
    """Plan the end of a token."""
    lost = f"token {token.name}, role {token.role}: whoever uses it is locked out at once"
    return TokenPlan(f"revoke token {token.name}", (lost,), (f"{_OWN} with another one",))


def _after(now: datetime, seconds: int) -> datetime:
    try:
        return now + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=now.tzinfo)  # the metaserver refuses so long a time


def _time(text: object) -> datetime | None:
    return parse_time(text) if isinstance(text, str) else None


def _moment(moment: datetime) -> str:
    """Return a time as people read it."""
    return moment.strftime("%Y-%m-%d %H:%M UTC")
