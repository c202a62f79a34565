"""The views of /v1/tokens and /v1/token."""

from __future__ import annotations

from flask import Blueprint, Response

from metaserver.api.request import Call, empty_reply, json_reply, operation
from metaserver.store import Token

OVERLAP = 3600  # seconds, as the contract says

blueprint = Blueprint("tokens", __name__)


@operation(blueprint, "getOwnToken")
def get_own_token(call: Call) -> Response:
    """Reply with what the caller's token is good for."""
    assert call.bearer is not None  # no public operation
    return json_reply(_described(call.bearer))


@operation(blueprint, "listTokens")
def list_tokens(call: Call) -> Response:
    """List the tokens, without their text."""
    return json_reply({"tokens": call.backend.tokens.listed()})


@operation(blueprint, "createToken")
def create_token(call: Call) -> Response:
    """Create a token; its text is in this reply and nowhere else."""
    token, text = call.backend.tokens.create(
        call.actor,
        call.body["name"],
        call.body["role"],
        pools=call.body.get("pools"),
        expires_in=call.body.get("expires_in"),
    )
    call.backend.hub.nudge()
    return json_reply({**_described(token), "token": text}, 201)


@operation(blueprint, "rotateToken")
def rotate_token(call: Call) -> Response:
    """Give a token another text, which is in this reply and nowhere else."""
    overlap = call.body.get("overlap", OVERLAP)
    token, text, until = call.backend.tokens.rotate(call.actor, call.path["token"], overlap)
    call.backend.hub.nudge()
    return json_reply({**_described(token), "token": text, "former_until": until})


@operation(blueprint, "revokeToken")
def revoke_token(call: Call) -> Response:
    """Revoke a token."""
    call.backend.tokens.revoke(call.actor, call.path["token"])
    call.backend.hub.nudge()
    return empty_reply()


def _described(token: Token) -> dict[str, object]:
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role,
        "pools": token.pools,
        "expires": token.expires,
    }
