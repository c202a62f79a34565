"""The page that makes a pool of masters that run already: a preview (a dry run), then the pool."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, request

from cachemesh.core.placement import Placement
from dashboard.auth import require_session
from dashboard.forms import Page, only_admins, show, two_steps, typed
from dashboard.new_pool_form import NewPoolForm, placed_shards
from dashboard.upstream import Json, Upstream
from dashboard.view import map_of

pages = Blueprint("new_pool", __name__)
pages.before_request(require_session)
pages.before_request(only_admins)


@pages.route("/new-pool", methods=["GET", "POST"])
def make() -> Page:
    """Make a pool."""
    form = NewPoolForm(
        pool=typed("pool"),
        shards=typed("shards"),
        sentinels=typed("sentinels"),
        quorum=typed("quorum"),
        strategy=typed("strategy", NewPoolForm.strategy),
        hash=typed("hash"),
        hash_tag=typed("hash_tag"),
        unnamed="unnamed" in request.form,
        allow_nonempty="allow_nonempty" in request.form,
    )
    if request.method == "GET" or typed("step") == "edit":
        return show(form)

    def change(upstream: Upstream, version: int | None) -> Json:
        # The name stands for the version: a pool that has it by now is refused.
        return upstream.create_pool({**form.body(), "dry_run": version is None})

    return two_steps(form, change, _with_preview)


def _with_preview(form: NewPoolForm, _upstream: Upstream, preview: Json) -> NewPoolForm:
    document: Json = preview["document"]
    placement = Placement.from_dict(document["placement"])
    placed = placed_shards(form.body(), placement)
    slots = map_of(document, {}, shares={each.name: each.share for each in placed})
    return replace(form, preview=preview, placed=placed, slots=slots)
