"""/v1/tokens."""

from __future__ import annotations

from flask import Blueprint, Response

from metaserver.api.request import Call, empty_reply, json_reply, operation

blueprint = Blueprint("tokens", __name__)


@operation(blueprint, "listTokens")
def list_tokens(call: Call) -> Response:
    """Every token, without its text."""
    return json_reply({"tokens": call.runtime.tokens.listed()})


@operation(blueprint, "createToken")
def create_token(call: Call) -> Response:
    """A new token; its text is in this reply and nowhere else."""
    token, text = call.runtime.tokens.create(call.actor, call.body["name"], call.body["role"])
    call.runtime.hub.nudge()
    reply = {"id": token.id, "name": token.name, "role": token.role, "token": text}
    return json_reply(reply, 201)


@operation(blueprint, "revokeToken")
def revoke_token(call: Call) -> Response:
    """One token less."""
    call.runtime.tokens.revoke(call.actor, call.path["token"])
    call.runtime.hub.nudge()
    return empty_reply()
