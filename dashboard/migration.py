"""The pages that steer a resize under way: its pace, and giving it up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from flask import Blueprint, redirect, render_template, request, url_for

from dashboard.auth import require_session, revoked
from dashboard.forms import InputError, Page, only_admins
from dashboard.state import current_session, state
from dashboard.upstream import UPSTREAM_ERRORS, Json, OperatorProblem, problem_of

pages = Blueprint("migration", __name__, url_prefix="/pools/<pool>/migration")
pages.before_request(require_session)
pages.before_request(only_admins)

_BOUNDS = {"keys_per_second": 1_000_000_000, "max_latency": 60_000}  # field -> the highest value


@dataclass(frozen=True)
class PaceForm:
    """What the page of the pace shows.

    Attributes:
        pool: its name.
        bounds: the fields of `_BOUNDS`, as the user has entered them, or as they are.
        was: what they held when the page was opened.
        problem: what went wrong, or None.
        wrong: the name of the field that it is about, or "".
    """

    pool: str
    bounds: Mapping[str, object]
    was: Mapping[str, object]
    problem: OperatorProblem | None = None
    wrong: str = ""


@dataclass(frozen=True)
class GiveUpForm:
    """What the page of giving up shows: the metaserver's plan, or what went wrong."""

    pool: str
    preview: Json | None = None
    problem: OperatorProblem | None = None


_ANOTHER_RESIZE = OperatorProblem(
    "Another resize is under way since the preview",
    "The one that you looked at is over.",
    "Nothing was changed. The preview below is new: look at it, then confirm again.",
    "resize-changed",
    409,
)


@pages.post("/paused")
def set_paused(pool: str) -> Page:
    """Pause the move of keys, or go on with it."""
    paused = request.form.get("paused") == "on"
    try:
        state().connect(current_session().token).set_pace(pool, {"paused": paused})
    except UPSTREAM_ERRORS as error:
        problem = problem_of(error)
        if problem.status == 401:
            return revoked()
        return render_template("problem.html", problem=problem), problem.status or 503
    return _done(pool, "Paused: no more keys move but those that apps ask for." if paused else "")


@pages.route("/throttle", methods=["GET", "POST"])
def throttle(pool: str) -> Page:
    """Show how fast keys may move, or set it."""
    upstream = state().connect(current_session().token)
    wrong = ""
    typed = {name: request.form.get(name, "0").strip() for name in _BOUNDS}
    was = {name: request.form.get(f"was-{name}", "") for name in _BOUNDS}
    try:
        if request.method == "POST":
            # A field that was left alone changes nothing, also if others have set it meanwhile.
            bounds = {n: v for n, v in _checked(typed).items() if typed[n] != was[n]}
            if bounds:
                upstream.set_pace(pool, bounds)
            return _done(pool, "The pace of the move is set.")
        resize = upstream.status(pool)["resize"]
        if resize is None:
            gone = OperatorProblem("No resize is under way", "It is over.", status=404)
            return render_template("throttle.html", form=PaceForm(pool, typed, was, gone)), 404
        return render_template("throttle.html", form=PaceForm(pool, resize, resize))
    except InputError as error:
        problem, wrong = error.problem, error.field
    except UPSTREAM_ERRORS as error:
        problem = problem_of(error)
    if problem.status == 401:
        return revoked()
    page = render_template("throttle.html", form=PaceForm(pool, typed, was, problem, wrong))
    return page, problem.status or 503


@pages.route("/give-up", methods=["GET", "POST"])
def give_up(pool: str) -> Page:
    """Show what giving the resize up means, or do it once that is confirmed."""
    upstream = state().connect(current_session().token)
    try:
        form = GiveUpForm(pool, upstream.give_up_resize(pool, dry_run=True))
        if request.method == "GET" or request.form.get("step") != "confirm":
            return render_template("give_up.html", form=form)
        # The resize of the preview may be over, and another one under way.
        if form.preview is None or request.form.get("summary") != form.preview["summary"]:
            page = render_template("give_up.html", form=replace(form, problem=_ANOTHER_RESIZE))
            return page, _ANOTHER_RESIZE.status
        done = upstream.give_up_resize(pool, dry_run=False)
        return _done(pool, f"Done: {done['summary']}.")
    except UPSTREAM_ERRORS as error:
        problem = problem_of(error)
    if problem.status == 401:
        return revoked()
    page = render_template("give_up.html", form=GiveUpForm(pool, problem=problem))
    return page, problem.status or 503


def _done(pool: str, notice: str) -> Page:
    if notice:
        current_session().notices.append(notice)
    return redirect(url_for("board.pool", pool=pool), code=303)


def _checked(typed: Mapping[str, str]) -> dict[str, int]:
    """Return the bounds that were entered. Raises InputError: one is none."""
    for name, text in typed.items():
        few = text.isascii() and text.isdigit() and len(text) < 11
        if not few or int(text) > _BOUNDS[name]:
            why = f"{text!r} is not a whole number from 0 to {_BOUNDS[name]:,}."
            problem = OperatorProblem("That is no bound", why, "0 stands for no bound.")
            raise InputError(problem, name)
    return {name: int(text) for name, text in typed.items()}
