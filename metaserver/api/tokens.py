"""The views of /v1/tokens."""

from __future__ import annotations

from flask import Blueprint, Response

from metaserver.api.request import Call, empty_reply, json_reply, operation

blueprint = Blueprint("tokens", __name__)


@operation(blueprint, "listTokens")
def list_tokens(call: Call) -> Response:
    """List the tokens, without their text."""
    return json_reply({"tokens": call.backend.tokens.listed()})


@operation(blueprint, "createToken")
def create_token(call: Call) -> Response:
    """Create a token; its text is in this reply and nowhere else."""
    token, text = call.backend.tokens.create(call.actor, call.body["name"], call.body["role"])
    call.backend.hub.nudge()
    reply = {"id": token.id, "name": token.name, "role": token.role, "token": text}
    return json_reply(reply, 201)


@operation(blueprint, "revokeToken")
def revoke_token(call: Call) -> Response:
    """Revoke a token."""
    call.backend.tokens.revoke(call.actor, call.path["token"])
    call.backend.hub.nudge()
    return empty_reply()
