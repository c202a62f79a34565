"""The page of a pool's settings: all of them, and how they are changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from flask import Blueprint, request

from dashboard.auth import require_session
from dashboard.forms import InputError, Page, PoolForm, failed, only_admins, show, two_steps
from dashboard.settings_view import (
    Audience,
    SettingDiff,
    SettingRow,
    audience,
    changed,
    setting_diff,
    setting_rows,
)
from dashboard.state import current_session, state
from dashboard.upstream import UPSTREAM_ERRORS, Json, OperatorProblem, Upstream, problem_of

pages = Blueprint("settings", __name__, url_prefix="/pools/<pool>/settings")
pages.before_request(require_session)

FIELD, WAS = "set-", "was-"  # before a setting's name, in the names of the form's fields


@dataclass(frozen=True, kw_only=True)
class SettingsForm(PoolForm):
    """What the page of the settings shows.

    Attributes:
        rows: all settings; empty if the metaserver does not tell them.
        diff: what changes.
        audience: who applies it, or None.
    """

    template: ClassVar[str] = "settings.html"
    rows: tuple[SettingRow, ...] = ()
    diff: tuple[SettingDiff, ...] = ()
    audience: Audience | None = None

    def field_of(self, problem: OperatorProblem) -> str:
        """Return the name of the field that the metaserver's problem is about, or ""."""
        return setting_field(problem, [row.name for row in self.rows])


def setting_field(problem: OperatorProblem, names: list[str]) -> str:
    """Return the name of the field of the setting that the metaserver's problem begins with."""
    named = problem.detail.partition(": ")[0].removeprefix("settings.")
    return FIELD + named if named in names else ""


@pages.get("")
def listed(pool: str) -> Page:
    """Show all settings: to admins in a form."""
    form = SettingsForm(pool=pool)
    try:
        document = state().connect(current_session().token).document(pool)
    except UPSTREAM_ERRORS as error:
        return failed(form, problem_of(error))
    return show(replace(form, rows=setting_rows(document["settings"])))


@pages.post("")
def change(pool: str) -> Page:
    """Show what would change, or change it."""
    only_admins()
    form = SettingsForm(pool=pool)
    entered, was = _entered(FIELD), _entered(WAS)
    try:
        document = state().connect(current_session().token).document(pool)
    except UPSTREAM_ERRORS as error:
        return failed(form, problem_of(error))
    settings: Json = document["settings"]
    form = replace(form, rows=setting_rows(settings, entered, was))
    if request.form.get("step") == "edit":
        return show(form)

    def carry_out(upstream: Upstream, version: int | None) -> Json:
        changes = changed(entered, was, settings)
        if not changes:
            problem = OperatorProblem(
                "Nothing to save", "No setting differs from what the pool has.", "Change one first."
            )
            raise InputError(problem, "")
        body: dict[str, object] = {"settings": changes, "version": version}
        if version is None:  # the plan is for the settings that the page compares it with
            body |= {"version": document["version"], "dry_run": True}
        return upstream.set_settings(pool, body)

    def with_preview(form: SettingsForm, upstream: Upstream, preview: Json) -> SettingsForm:
        diff = setting_diff(settings, preview["document"]["settings"])
        names = [each.name for each in diff]
        told = audience(upstream.clients(pool), names)
        return replace(form, preview=preview, diff=diff, audience=told)

    return two_steps(form, carry_out, with_preview)


def _entered(prefix: str) -> dict[str, str]:
    """Return what fields with this prefix hold, by the names of the settings."""
    return {
        name.removeprefix(prefix): text.strip()
        for name, text in request.form.items()
        if name.startswith(prefix)
    }
