"""What the forms have in common: two steps, a preview first, and what a refusal shows.

inputs --preview--> the metaserver's plan --confirm--> the change, if the pool is as it was
          |                                  |
          '---- refused: the form again, with the reason, the inputs and the wrong field
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from flask import abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from dashboard.auth import revoked
from dashboard.security import check_csrf
from dashboard.state import current_session, state
from dashboard.upstream import UPSTREAM_ERRORS, Json, OperatorProblem, Upstream, problem_of

Page = Response | str | tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Form:
    """What the page of a form shows.

    Attributes:
        template: the page's.
        problem: what went wrong, or None.
        wrong: the name of the field that it is about, or "".
    """

    template: ClassVar[str]
    problem: OperatorProblem | None = None
    wrong: str = ""

    def field_of(self, problem: OperatorProblem) -> str:
        """Return the name of the field that the metaserver's problem is about, or ""."""
        return ""


@dataclass(frozen=True, kw_only=True)
class PoolForm(Form):
    """A form whose change the metaserver plans first.

    Attributes:
        pool: to be changed, or made.
        preview: the metaserver's plan, or None.
    """

    pool: str
    preview: Json | None = None


AnyPoolForm = TypeVar("AnyPoolForm", bound=PoolForm)


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


def only_admins() -> None:
    """Refuse requests that need another token (403), and POSTs without the session's CSRF token."""
    session, pool = current_session(), (request.view_args or {}).get("pool")
    if session.role != "admin":
        abort(403, "You signed in with a read token; changes need an admin token.")
    if not session.may_change(pool):
        needed = "an admin token of all pools" if pool is None else "one for this pool"
        only = ", ".join(session.pools or ())
        abort(403, f"You signed in with an admin token for {only} alone; this needs {needed}.")
    if request.method == "POST":
        check_csrf(session)


def typed(name: str, default: str = "") -> str:
    """Return what the user has entered into a field."""
    return request.form.get(name, default).strip()


def require_name(name: str, kind: str, done: str) -> None:
    """Check that the user has typed a name into the field "typed", to confirm.

    Args:
        name: of what is changed.
        kind: what it is, in a word.
        done: what is to be done with it, such as "removed".

    Raises:
        InputError: another name was typed.
    """
    if typed("typed") != name:
        problem = OperatorProblem(
            f"Nothing was {done}",
            f"You typed {typed('typed')!r}; the {kind} is called {name!r}.",
            f"Type the {kind}'s name exactly to confirm.",
        )
        raise InputError(problem, "typed")


def show(form: Form) -> Page:
    """Render a form, with the status of its problem."""
    page = render_template(form.template, form=form)
    return page if form.problem is None else (page, form.problem.status or 503)


def failed(form: Form, problem: OperatorProblem, wrong: str = "") -> Page:
    """Show a form again, with what is wrong.

    Args:
        wrong: the name of the field that it is about; "": where the problem itself tells.
    """
    if problem.status == 401:
        return revoked()
    return show(replace(form, problem=problem, wrong=wrong or form.field_of(problem)))


def two_steps(
    form: AnyPoolForm,
    change: Callable[[Upstream, int | None], Json],
    with_preview: Callable[[AnyPoolForm, Upstream, Json], AnyPoolForm],
) -> Page:
    """Preview a change, or make it on the version that was previewed.

    Args:
        form: what the user entered.
        change: makes the change on a version; with None, a dry run.
        with_preview: returns the form with the plan of the dry run.
    """
    upstream = state().connect(current_session().token)
    refused: OperatorProblem | None = None
    wrong = ""
    try:
        if typed("step") == "confirm":
            done = change(upstream, _confirmed_version())
            how = "Under way" if done.get("resize") else "Done"
            current_session().notices.append(f"{how}: {done['summary']}.")
            return redirect(url_for("board.pool", pool=form.pool), code=303)
    except InputError as error:
        refused, wrong = error.problem, error.field
    except UPSTREAM_ERRORS as error:
        refused = _explain(problem_of(error))
        if refused.code != "version-conflict":
            return failed(form, refused)
    try:
        form = with_preview(form, upstream, change(upstream, None))
    except InputError as error:
        return failed(form, error.problem, error.field)
    except UPSTREAM_ERRORS as error:
        return failed(form, _explain(problem_of(error)))
    return failed(form, refused, wrong) if refused else show(form)


def _explain(problem: OperatorProblem) -> OperatorProblem:
    """Say, for a version conflict, that the page shows a new preview."""
    if problem.code != "version-conflict":
        return problem
    return replace(
        problem,
        title="The pool has changed since the preview",
        next_step="Nothing was changed. The preview below is new: look at it, then confirm again.",
    )


def _confirmed_version() -> int:
    """Return the pool's version of the confirmed preview; abort with 400 if the form has none."""
    try:
        return int(typed("version"))
    except ValueError:
        abort(400, "The form lacks the version of the preview; start the change again.")
