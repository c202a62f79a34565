"""The OpenAPI 3.1 document, made of the table of operations and the schemas.

Source: https://spec.openapis.org/oas/v3.1.1.html.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from metaserver.api.contract.operation import Operation
from metaserver.api.contract.operations import OPERATIONS, PATH_PARAMETERS
from metaserver.api.contract.schema_parts import IDEMPOTENCY_KEY, KEY_HEADER, Schema, ref
from metaserver.api.contract.schemas import SCHEMAS

_KEY: dict[str, Any] = {
    "name": KEY_HEADER,
    "in": "header",
    "required": False,
    "schema": IDEMPOTENCY_KEY,
}


@cache
def openapi() -> dict[str, Any]:
    """Return the whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "CacheMesh metaserver",
            "version": "1",
            "description": "Pools, shards and tokens of CacheMesh, and the watch clients follow.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": _access_in_words(operation),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": PATH_PARAMETERS[name]}
            for name in re.findall(r"{(\w+)}", operation.path)
        ]
        + [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in operation.query.items()
        ]
        + ([_KEY] if operation.once else []),
        "responses": {
            str(operation.status): _success(operation),
            "default": {
                "description": "A problem (RFC 9457)",
                "content": {"application/problem+json": {"schema": ref("Problem")}},
            },
        },
    }
    if operation.access == "public":
        described["security"] = []
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": ref(operation.body)}},
        }
    return described


def _access_in_words(operation: Operation) -> str:
    if operation.access == "public":
        return "Needs no token."
    role = "admin" if operation.access == "admin" else "read or admin"
    if operation.listing:
        limited = "One that is limited to pools gets what belongs to these."
    elif "{pool}" in operation.path:
        limited = "One that is limited to pools has to be for this one."
    else:
        limited = "One that is limited to pools does not do."
    return f"Needs a token of role {role}. {limited}"


def _success(operation: Operation) -> dict[str, Any]:
    if operation.status == 204:
        return {"description": "Done"}
    schema: Schema = {"type": "string"}
    if operation.media == "application/json":
        schema = ref(operation.reply) if operation.reply else {"type": "object"}
    return {"description": "Done", "content": {operation.media: {"schema": schema}}}
