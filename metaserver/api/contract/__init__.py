"""The OpenAPI 3.1 document, and requests checked against it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, cast

from jsonschema import Draft202012Validator, TypeChecker, ValidationError
from jsonschema.validators import extend

from metaserver.api.contract.operations import (
    BY_ID,
    OPERATIONS,
    PATH_PARAMETERS,
    Operation,
)
from metaserver.api.contract.schemas import SCHEMAS, Schema, ref
from metaserver.domain.errors import RequestRefused

__all__ = ["BY_ID", "OPERATIONS", "Operation", "check_body", "check_query", "openapi"]

_SHOWN = 80  # characters of a bad value that an error repeats
_WHOLE = re.compile(r"-?[0-9]{1,18}")


def _is_whole(_checker: TypeChecker, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# JSON Schema takes 1.0 for an integer; what is stored and compared here is one, or is refused.
_extend = cast("Callable[..., type[Draft202012Validator]]", extend)  # it has no types
_Validator = _extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_whole),
)


@cache
def openapi() -> dict[str, Any]:
    """The whole document (https://spec.openapis.org/oas/v3.1.1.html)."""
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


def check_body(operation: Operation, body: object) -> dict[str, Any]:
    """The body, which is an object as the operation's schema describes it.

    Raises:
        RequestRefused: bad-request, naming the field.
    """
    errors = _body_validator(operation.id).iter_errors(body)
    _raise_first(errors, "body")
    if not isinstance(body, dict):
        raise RequestRefused("bad-request", "The body is not an object", "send a JSON object")
    return body


def check_query(operation: Operation, given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The query parameters with their types, defaults filled in.

    Raises:
        RequestRefused: bad-request, naming the parameter.
    """
    values: dict[str, Any] = {}
    for name, text in given:
        schema = operation.query.get(name)
        if schema is None:
            known = ", ".join(operation.query) or "none"
            raise _bad(name, f"unknown query parameter {name!r:.{_SHOWN}}", f"known are: {known}")
        if name in values:
            raise _bad(name, f"query parameter {name!r} is there twice", "give it once")
        values[name] = _decoded(text, schema)
        _raise_first(_Validator(schema).iter_errors(values[name]), name)
    defaults = {n: s["default"] for n, s in operation.query.items() if "default" in s}
    return {**defaults, **values}


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": {
            "public": "Needs no token.",
            "read": "Needs a token of role read or admin.",
            "admin": "Needs a token of role admin.",
        }[operation.access],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": PATH_PARAMETERS[name]}
            for name in re.findall(r"{(\w+)}", operation.path)
        ]
        + [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in operation.query.items()
        ],
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


def _success(operation: Operation) -> dict[str, Any]:
    if operation.status == 204:
        return {"description": "Done"}
    schema: Schema = {"type": "string"}
    if operation.media == "application/json":
        schema = ref(operation.reply) if operation.reply else {"type": "object"}
    return {"description": "Done", "content": {operation.media: {"schema": schema}}}


@cache
def _body_validator(operation_id: str) -> Draft202012Validator:
    name = BY_ID[operation_id].body
    if name is None:
        raise ValueError(f"{operation_id} takes no body")
    return _Validator(SCHEMAS[name])  # schemas of requests refer to no others


def _raise_first(errors: Iterable[ValidationError], where: str) -> None:
    error = next(iter(errors), None)  # the others are not looked for: there may be very many
    if error is None:
        return
    if error.validator == "anyOf" and error.context:
        error = error.context[0]
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path
    ).lstrip(".")
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = _schema(error).get("properties", {})
        name = next(name for name in error.instance if name not in known)
        field = f"{path}.{name}".lstrip(".")
        raise _bad(field, f"unknown field {_shown(field)}", f"known are: {', '.join(known)}")
    if error.validator == "required" and isinstance(error.instance, dict):
        name = next(name for name in _rule(error) if name not in error.instance)
        field = f"{path}.{name}".lstrip(".")
        raise _bad(field, f"the field {field!r} is missing", "add it; /openapi.json describes it")
    if error.validator == "type" and _rule(error) == "null":  # of what only a newer release knows
        known = _schema(error)["description"]
        raise _bad(path, f"{_shown(path)}: there is no such setting", f"name {known}")
    field = path or where
    raise _bad(field, f"{field}: {_in_words(error)}", _hint(error))


def _schema(error: ValidationError) -> Mapping[str, Any]:
    return error.schema if isinstance(error.schema, Mapping) else {}


def _rule(error: ValidationError) -> Any:
    """What the schema says, such as 1 for `minimum`."""
    return error.validator_value


def _shown(value: object) -> str:
    """A bad value as JSON, no longer than a line holds."""
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _in_words(error: ValidationError) -> str:
    shown, rule, schema = _shown(error.instance), _rule(error), _schema(error)
    if error.validator == "pattern":
        return f"{shown} is not valid: {schema.get('description', rule)}"
    if error.validator == "type":
        return f"{shown} is not of type {rule if isinstance(rule, str) else ' or '.join(rule)}"
    if error.validator in ("minimum", "maximum"):
        low, high = schema.get("minimum"), schema.get("maximum")
        span = f"{low} or more" if high is None else f"from {low} to {high}"
        return f"{shown} is out of range: {span}"
    if error.validator == "enum":
        return f"{shown} is not one of {', '.join(map(str, rule))}"
    if error.validator == "uniqueItems":
        return "an item is there twice"
    size = "short" if str(error.validator).startswith("min") else "long"
    return f"{shown} is too {size}: {error.validator} is {rule}"


def _hint(error: ValidationError) -> str:
    description = _schema(error).get("description")
    if description and error.validator != "pattern":
        return f"expected is: {description}"
    return "correct the request; /openapi.json describes it"


def _decoded(text: str, schema: Schema) -> object:
    if schema["type"] == "integer" and _WHOLE.fullmatch(text):
        return int(text)
    if schema["type"] == "boolean" and text in ("true", "false"):
        return text == "true"
    return text


def _bad(field: str, detail: str, next_step: str) -> RequestRefused:
    return RequestRefused("bad-request", detail, next_step, field=field)
