"""The pages that change a pool: a preview (a dry run), then the change on the same version."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from flask import Blueprint, abort, request

from cachemesh.core.placement import Placement
from dashboard.auth import require_session
from dashboard.forms import (
    InputError,
    Page,
    PoolForm,
    failed,
    only_admins,
    require_name,
    show,
    two_steps,
    typed,
)
from dashboard.planned_move import PlannedMove, planned_move
from dashboard.slot_map import SlotMap, owners_of
from dashboard.state import current_session, state
from dashboard.upstream import UPSTREAM_ERRORS, Json, OperatorProblem, Upstream, problem_of
from dashboard.view import map_of, ranges_of

pages = Blueprint("changes", __name__, url_prefix="/pools/<pool>/shards")
pages.before_request(require_session)
pages.before_request(only_admins)
_FIELDS = ("name", "master", "weight")
_FIELD_OF = {"shard-exists": "name", "instance-rejected": "master"}  # code -> field
STRATEGIES = ("move", "drop")
"""What may become of keys that change their shard; the first unless the user chooses otherwise."""


@dataclass(frozen=True, kw_only=True)
class ChangeForm(PoolForm):
    """What the page of a change shows.

    Attributes:
        kind: "add", "remove" or "weight".
        shard, address, weight, allow_nonempty: what the user entered.
        strategy: what becomes of keys that change their shard, as chosen.
        typed: the shard's name, which the user types to confirm a removal.
        move: the keys that will move, or None.
        before, after: the slot map before and after the change, or None.
    """

    template: ClassVar[str] = "change.html"
    kind: str
    shard: str = ""
    address: str = ""
    weight: str = "1"
    allow_nonempty: bool = False
    strategy: str = STRATEGIES[0]
    typed: str = ""
    move: PlannedMove | None = None
    before: SlotMap | None = None
    after: SlotMap | None = None

    def field_of(self, problem: OperatorProblem) -> str:
        """Return the name of the field that the metaserver's problem is about, or ""."""
        return wrong_field(problem)


@pages.route("/new", methods=["GET", "POST"])
def add(pool: str) -> Page:
    """Add a shard."""
    form = ChangeForm(
        kind="add",
        pool=pool,
        shard=typed("name"),
        address=typed("master"),
        weight=typed("weight", "1"),
        allow_nonempty="allow_nonempty" in request.form,
        strategy=_strategy(),
    )
    if request.method == "GET" or typed("step") == "edit":
        return show(form)

    def change(upstream: Upstream, version: int | None) -> Json:
        body: dict[str, object] = {
            "name": form.shard,
            "master": form.address,
            "weight": _weight(form.weight),
            "allow_nonempty": form.allow_nonempty,
        }
        return upstream.add_shard(pool, body | _how(form, version))

    return two_steps(form, change, _with_preview)


@pages.route("/<name>/remove", methods=["GET", "POST"])
def remove(pool: str, name: str) -> Page:
    """Remove a shard."""
    form = ChangeForm(
        kind="remove", pool=pool, shard=name, typed=typed("typed"), strategy=_strategy()
    )

    def change(upstream: Upstream, version: int | None) -> Json:
        if version is not None:
            require_name(name, "shard", "removed")
        return upstream.remove_shard(pool, name, _how(form, version))

    return two_steps(form, change, _with_preview)


@pages.route("/<name>/weight", methods=["GET", "POST"])
def weight(pool: str, name: str) -> Page:
    """Set the weight of a shard."""
    form = ChangeForm(
        kind="weight", pool=pool, shard=name, weight=typed("weight"), strategy=_strategy()
    )
    if request.method == "GET":
        try:
            now = state().connect(current_session().token).shard(pool, name)
        except UPSTREAM_ERRORS as error:
            return failed(form, problem_of(error))
        return show(replace(form, weight=str(now["weight"])))
    if typed("step") == "edit":
        return show(form)

    def change(upstream: Upstream, version: int | None) -> Json:
        body: dict[str, object] = {"weight": _weight(form.weight)}
        return upstream.set_weight(pool, name, body | _how(form, version))

    return two_steps(form, change, _with_preview)


def _with_preview(form: ChangeForm, upstream: Upstream, preview: Json) -> ChangeForm:
    status, before = upstream.status(form.pool), upstream.document(form.pool)
    after: Json = preview["document"]
    placement = Placement.from_dict(after["placement"])
    shares = {name: placement.share(name) for name in placement.names}
    return replace(
        form,
        preview=preview,
        move=planned_move(preview),
        before=map_of(before, status, owners_of(ranges_of(after))),
        after=map_of(after, status, owners_of(ranges_of(before)), shares),
    )


def wrong_field(problem: OperatorProblem) -> str:
    """Return the name of the field that the metaserver's problem is about, or "".

    The metaserver begins with the name of the field, or its code says it.
    """
    named = problem.detail.partition(": ")[0]
    return named if named in _FIELDS else _FIELD_OF.get(problem.code, "")


def _how(form: ChangeForm, version: int | None) -> dict[str, str | int | bool]:
    how: dict[str, str | int | bool] = {"strategy": form.strategy}
    return how | ({"dry_run": True} if version is None else {"version": version})


def _strategy() -> str:
    """Return the chosen strategy: that of a button which changes it, else that of the form."""
    chosen = typed("instead") or typed("strategy", STRATEGIES[0])
    if chosen not in STRATEGIES:
        abort(400, "The form names no strategy that there is; start the change again.")
    return chosen


def _weight(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise InputError(
            OperatorProblem(
                "That is not a weight",
                f"{text!r} is not a whole number.",
                "Weights run from 1 to 1000; a shard of weight 2 gets twice the slots.",
            ),
            "weight",
        ) from error
