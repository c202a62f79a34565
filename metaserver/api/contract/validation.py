"""Checking request bodies and query parameters against the schemas of their operation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from metaserver.api.contract.operation import Operation
from metaserver.api.contract.operations import BY_ID
from metaserver.api.contract.schema_parts import IDEMPOTENCY_KEY, KEY_HEADER, Schema
from metaserver.api.contract.schemas import SCHEMAS
from metaserver.domain.errors import RequestRefused

_SHOWN = 80  # characters of a bad value that an error repeats
_CHECKED_BY_VIEWS = (
    "quality",
)  # in a hundredth of the time: every client sends one again and again
_WHOLE = re.compile(r"(-?[0-9]{1,18})(\.0+)?")


def check_body(operation: Operation, body: object) -> dict[str, Any]:
    """Check a body against the operation's schema, and return the body.

    Raises:
        RequestRefused: bad-request, with the field.
    """
    errors = _body_validator(operation.id).iter_errors(body)
    _raise_first(errors, "body")
    if not isinstance(body, dict):
        raise RequestRefused("bad-request", "The body is not an object", "send a JSON object")
    whole: dict[str, Any] = _with_integers(body, _body_validator(operation.id).schema)
    return whole


def _with_integers(value: Any, schema: Any) -> Any:
    """Return a checked value with an int where the schema has an integer: for it, 1.0 is one."""
    if not isinstance(schema, Mapping):
        return value
    if isinstance(value, float) and schema.get("type") == "integer":
        return int(value)
    if "anyOf" in schema and value is not None:  # this, or null
        return _with_integers(value, schema["anyOf"][0])
    if isinstance(value, list):
        return [_with_integers(each, schema.get("items")) for each in value]
    if isinstance(value, dict):
        fields = schema.get("properties", {})
        return {name: _with_integers(each, fields.get(name)) for name, each in value.items()}
    return value


def check_query(operation: Operation, given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Check query parameters, and return them decoded, with the defaults of missing ones.

    Raises:
        RequestRefused: bad-request, with the parameter.
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
        _raise_first(Draft202012Validator(schema).iter_errors(values[name]), name)
    defaults = {n: s["default"] for n, s in operation.query.items() if "default" in s}
    return {**defaults, **values}


def check_key(text: str) -> str:
    """Check an idempotency key, and return it.

    Raises:
        RequestRefused: bad-request.
    """
    _raise_first(Draft202012Validator(IDEMPOTENCY_KEY).iter_errors(text), KEY_HEADER)
    return text


@cache
def _body_validator(operation_id: str) -> Draft202012Validator:
    name = BY_ID[operation_id].body
    if name is None:
        raise ValueError(f"{operation_id} takes no body")
    schema = SCHEMAS[name]  # schemas of requests refer to no others
    fields = schema.get("properties", {})
    by_views: dict[str, Schema] = {field: {} for field in _CHECKED_BY_VIEWS if field in fields}
    return Draft202012Validator({**schema, "properties": {**fields, **by_views}})


def _raise_first(errors: Iterable[ValidationError], where: str) -> None:
    error = next(iter(errors), None)  # the rest is not evaluated: there may be very many
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
    if error.validator == "type" and _rule(error) == "null":  # a setting of a newer release
        known = _schema(error)["description"]
        raise _bad(path, f"{_shown(path)}: there is no such setting", f"name {known}")
    field = path or where
    raise _bad(field, f"{field}: {_in_words(error)}", _hint(error))


def _schema(error: ValidationError) -> Mapping[str, Any]:
    return error.schema if isinstance(error.schema, Mapping) else {}


def _rule(error: ValidationError) -> Any:
    """Return the value of the violated keyword of the schema, such as 1 of `minimum`."""
    return error.validator_value


def _shown(value: object) -> str:
    """Return a bad value as JSON, cut to fit a line."""
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
    if schema["type"] == "integer" and (whole := _WHOLE.fullmatch(text)):
        return int(whole[1])
    if schema["type"] == "boolean" and text in ("true", "false"):
        return text == "true"
    return text


def _bad(field: str, detail: str, next_step: str) -> RequestRefused:
    return RequestRefused("bad-request", detail, next_step, field=field)
