"""The pages that change a pool: a preview (a dry run), then the change on the same version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from cachemesh.core.placement import Placement
from dashboard.auth import require_session, revoked
from dashboard.planned_move import PlannedMove, planned_move
from dashboard.security import check_csrf
from dashboard.slot_map import SlotMap, owners_of
from dashboard.state import current_session, state
from dashboard.upstream import UPSTREAM_ERRORS, Json, OperatorProblem, Upstream, problem_of
from dashboard.view import map_of, ranges_of

pages = Blueprint("changes", __name__, url_prefix="/pools/<pool>/shards")
pages.before_request(require_session)
Page = Response | str | tuple[str, int]
_FIELDS = ("name", "master", "weight")
_FIELD_OF = {"shard-exists": "name", "instance-rejected": "master"}  # code -> field
STRATEGIES = ("move", "drop")
"""What may become of keys that change their shard; the first unless the user chooses otherwise."""


@dataclass(frozen=True)
class ChangeForm:
    """What the page of a change shows.

    Attributes:
        kind: "add", "remove" or "weight".
        pool: to be changed.
        shard, address, weight, allow_nonempty: what the user entered.
        strategy: what becomes of keys that change their shard, as chosen.
        typed: the shard's name, which the user types to confirm a removal.
        preview: the metaserver's plan, or None.
        move: the keys that will move, or None.
        before, after: the slot map before and after the change, or None.
        problem: what went wrong, or None.
        wrong: the name of the field that it is about, or "".
    """

    kind: str
    pool: str
    shard: str = ""
    address: str = ""
    weight: str = "1"
    allow_nonempty: bool = False
    strategy: str = STRATEGIES[0]
    typed: str = ""
    preview: Json | None = None
    move: PlannedMove | None = None
    before: SlotMap | None = None
    after: SlotMap | None = None
    problem: OperatorProblem | None = None
    wrong: str = ""


class InputError(ValueError):
    """The user's input is wrong.

    Args:
        problem: says how.
        field: the name of the field that it is about.
    """

    def __init__(self, problem: OperatorProblem, field: str) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.field = field


@pages.before_request
def only_admins() -> None:
    """Refuse requests of read sessions (403), and POSTs without the session's CSRF token."""
    if not current_session().can_change:
        abort(403, "You signed in with a read token; changes need an admin token.")
    if request.method == "POST":
        check_csrf(current_session())


@pages.route("/new", methods=["GET", "POST"])
def add(pool: str) -> Page:
    """Add a shard."""
    form = ChangeForm(
        "add",
        pool,
        shard=_typed("name"),
        address=_typed("master"),
        weight=_typed("weight", "1"),
        allow_nonempty="allow_nonempty" in request.form,
        strategy=_strategy(),
    )
    if request.method == "GET" or _typed("step") == "edit":
        return _show(form)

    def change(upstream: Upstream, version: int | None) -> Json:
        body: dict[str, object] = {
            "name": form.shard,
            "master": form.address,
            "weight": _weight(form.weight),
            "allow_nonempty": form.allow_nonempty,
        }
        return upstream.add_shard(pool, body | _how(form, version))

    return _step(form, change)


@pages.route("/<name>/remove", methods=["GET", "POST"])
def remove(pool: str, name: str) -> Page:
    """Remove a shard."""
    form = ChangeForm("remove", pool, shard=name, typed=_typed("typed"), strategy=_strategy())

    def change(upstream: Upstream, version: int | None) -> Json:
        if version is not None and form.typed != name:
            raise InputError(
                OperatorProblem(
                    "Nothing was removed",
                    f"You typed {form.typed!r}; the shard is called {name!r}.",
                    "Type the shard's name exactly to confirm.",
                ),
                "typed",
            )
        return upstream.remove_shard(pool, name, _how(form, version))

    return _step(form, change)


@pages.route("/<name>/weight", methods=["GET", "POST"])
def weight(pool: str, name: str) -> Page:
    """Set the weight of a shard."""
    form = ChangeForm("weight", pool, shard=name, weight=_typed("weight"), strategy=_strategy())
    if request.method == "GET":
        try:
            now = state().connect(current_session().token).shard(pool, name)
        except UPSTREAM_ERRORS as error:
            return _failed(form, problem_of(error))
        return _show(replace(form, weight=str(now["weight"])))
    if _typed("step") == "edit":
        return _show(form)

    def change(upstream: Upstream, version: int | None) -> Json:
        body: dict[str, object] = {"weight": _weight(form.weight)}
        return upstream.set_weight(pool, name, body | _how(form, version))

    return _step(form, change)


def _step(form: ChangeForm, change: Callable[[Upstream, int | None], Json]) -> Page:
    """Preview a change, or make it on the version that was previewed.

    Args:
        form: what the user entered.
        change: makes the change on a version; with None, a dry run.
    """
    upstream = state().connect(current_session().token)
    failed: OperatorProblem | None = None
    wrong = ""
    try:
        if _typed("step") == "confirm":
            done = change(upstream, _version())
            how = "Under way" if done.get("resize") else "Done"
            current_session().notices.append(f"{how}: {done['summary']}.")
            return redirect(url_for("board.pool", pool=form.pool), code=303)
    except InputError as error:
        failed, wrong = error.problem, error.field
    except UPSTREAM_ERRORS as error:
        failed = _explain(problem_of(error))
        if failed.code != "version-conflict":
            return _failed(form, failed)
    try:
        preview = change(upstream, None)
        form = _with_preview(form, upstream, preview)
    except InputError as error:
        return _failed(form, error.problem, error.field)
    except UPSTREAM_ERRORS as error:
        return _failed(form, _explain(problem_of(error)))
    return _failed(form, failed, wrong) if failed else _show(form)


def _explain(problem: OperatorProblem) -> OperatorProblem:
    """Say, for a version conflict, that the page shows a new preview."""
    if problem.code != "version-conflict":
        return problem
    return replace(
        problem,
        title="The pool has changed since the preview",
        next_step="Nothing was changed. The preview below is new: look at it, then confirm again.",
    )


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


def _failed(form: ChangeForm, problem: OperatorProblem, wrong: str = "") -> Page:
    """Show the form again, with what is wrong.

    Args:
        wrong: the name of the field that it is about; "": where the problem itself tells.
    """
    if problem.status == 401:
        return revoked()
    page = _show(replace(form, problem=problem, wrong=wrong or wrong_field(problem)))
    return page, problem.status or 503


def wrong_field(problem: OperatorProblem) -> str:
    """Return the name of the field that the metaserver's problem is about, or "".

    The metaserver begins with the name of the field, or its code says it.
    """
    named = problem.detail.partition(": ")[0]
    return named if named in _FIELDS else _FIELD_OF.get(problem.code, "")


def _show(form: ChangeForm) -> str:
    return render_template("change.html", form=form)


def _typed(name: str, default: str = "") -> str:
    return request.form.get(name, default).strip()


def _version() -> int:
    """Return the pool's version of the confirmed preview; abort with 400 if the form has none."""
    try:
        return int(_typed("version"))
    except ValueError:
        abort(400, "The form lacks the version of the preview; start the change again.")


def _how(form: ChangeForm, version: int | None) -> dict[str, str | int | bool]:
    how: dict[str, str | int | bool] = {"strategy": form.strategy}
    return how | ({"dry_run": True} if version is None else {"version": version})


def _strategy() -> str:
    """Return the chosen strategy: that of a button which changes it, else that of the form."""
    chosen = _typed("instead") or _typed("strategy", STRATEGIES[0])
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
