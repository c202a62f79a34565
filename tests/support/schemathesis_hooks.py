"""What schemathesis does before each call of a metaserver: no watch call is held, and the tokens
that were there before stay (OWN_TOKENS has their ids, with a comma between)."""

from __future__ import annotations

import os
from typing import Any

import schemathesis


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Let a valid watch call be answered at once, and calls about the own tokens miss them."""
    own = os.environ.get("OWN_TOKENS", "").split(",")
    if case.path_parameters and case.path_parameters.get("token") in own:
        case.path_parameters["token"] = "another"
    body = case.body
    if case.operation.path.endswith("/watch") and isinstance(body, dict):
        wait = body.get("wait", 25)
        if isinstance(wait, (int, float)) and not isinstance(wait, bool) and 0 <= wait <= 60:
            body["wait"] = 0
