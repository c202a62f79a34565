"""Building blocks of the schemas: JSON Schema 2020-12 types, and the common fields.

A `pattern` comes with a `description` in words, which a caller reads when a value does not match.
"""

from __future__ import annotations

import json
from typing import Any

from cachemesh.core.names import NAME_PATTERN
from cachemesh.core.placement import MAX_WEIGHT
from cachemesh.core.pool.settings import SETTINGS, Setting
from cachemesh.core.quality.report import BREAKERS, ERRORS, MOST_SHARDS
from metaserver.redis_io.key_sampler import Sampling

Schema = dict[str, Any]

NAME_IN_WORDS = "1 to 64 characters of A-Z a-z 0-9 . _ - with a letter or digit first"
MAX_WAIT = 60.0
MOST_SECONDS = 10 * 366 * 86_400  # that a token may be good for


def ref(name: str) -> Schema:
    """Return a reference to the schema `name`."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(description: str, **more: Any) -> Schema:
    """Return the schema of a string."""
    return {"type": "string", "description": description, **more}


def number(description: str, kind: str = "integer", **more: Any) -> Schema:
    """Return the schema of an integer, or with kind "number" of any number."""
    return {"type": kind, "description": description, **more}


def flag(description: str) -> Schema:
    """Return the schema of a boolean that is false by default."""
    return {"type": "boolean", "description": description, "default": False}


def array(of: Schema, **more: Any) -> Schema:
    """Return the schema of a list. Its bounds are checked before its items."""
    return {"type": "array", **more, "items": of}


def nullable(schema: Schema) -> Schema:
    """Return the schema of a value or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def request(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """Return the schema of an object without other fields than these."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def reply(**properties: Schema) -> Schema:
    """Return the schema of an object with all these fields; a later release may add others."""
    return {"type": "object", "properties": properties, "required": list(properties)}


NAME = text(NAME_IN_WORDS, pattern=NAME_PATTERN)
_HOST = r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]{2,45}\]"
_PORT = "6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}"
ADDRESS = text("host:port, or [ipv6]:port, port 1 to 65535", pattern=f"^({_HOST}):({_PORT})$")
WEIGHT = number("share of the slots", minimum=1, maximum=MAX_WEIGHT, default=1)
LABEL = text("what the strategy hashes in place of the name", minLength=1, maxLength=79)


def _setting(setting: Setting) -> Schema:
    default = "none" if setting.default is None else json.dumps(setting.default)
    doc = f"{setting.doc}; null is the default, {default}"
    if isinstance(setting.default, bool):
        return nullable(flag(doc))
    if setting.words:
        return nullable(text(doc, enum=list(setting.words)))
    return nullable(number(doc, "number", minimum=setting.minimum, maximum=setting.maximum))


KEY_HEADER = "Idempotency-Key"
IDEMPOTENCY_KEY = text(
    "1 to 64 printable ASCII characters without a space; a call that is sent again with its key "
    "changes nothing again, and gets the answer of the first",
    pattern="^[!-~]{1,64}$",
)
MAX_WHOLE = 2**53 - 1  # what every JSON parser keeps exactly (RFC 7493)
VERSION = number(
    "the change is refused unless the pool is at this version", minimum=1, maximum=MAX_WHOLE
)
DRY_RUN = flag("say what would happen, and change nothing")
STRATEGY: Schema = {
    "type": "string",
    "enum": ["move", "drop"],
    "default": "move",
    "description": "what becomes of keys that change their shard: they are moved, or go cold",
}
KEYS_PER_SECOND = number(
    "how many keys are moved at most; 0 for no bound", minimum=0, maximum=MAX_WHOLE, default=0
)
MAX_LATENCY = number(
    "milliseconds that a shard may take to answer; keys are moved more slowly while one takes "
    "longer; 0 for no bound",
    minimum=0,
    maximum=60_000,
    default=0,
)
PACE: dict[str, Schema] = {"keys_per_second": KEYS_PER_SECOND, "max_latency": MAX_LATENCY}
HOW: dict[str, Schema] = {"strategy": STRATEGY, **PACE}
"""What becomes of keys that change their shard."""
SAMPLE = number(
    "of a dry run that moves keys: how many keys of each shard to look at; 0 for all",
    minimum=0,
    maximum=MAX_WHOLE,
    default=Sampling().keys,
)
BIG_KEY = number(
    "of a dry run that moves keys: bytes from which on a key is named",
    minimum=1,
    maximum=MAX_WHOLE,
    default=Sampling().big_key,
)
LOOK: dict[str, Schema] = {"sample": SAMPLE, "big_key": BIG_KEY}
"""What a dry run looks at."""
ALLOW_NONEMPTY = flag("take an instance that holds keys already")
TIME = text("RFC 3339 in UTC", format="date-time")
COUNT = number("how many", minimum=0)
RATIO = number("0 to 1", "number", minimum=0, maximum=1)
SETTING_VALUES = {setting.name: _setting(setting) for setting in SETTINGS.values()}

_FELT: Schema = number("a number of calls", minimum=1, maximum=MAX_WHOLE)
QUALITY: Schema = {
    "type": "object",
    "description": "what the client felt of each shard since its last report",
    "maxProperties": MOST_SHARDS,
    "additionalProperties": {
        "type": "object",
        "required": ["calls"],
        "additionalProperties": False,
        "properties": {
            "calls": number("calls that were answered", minimum=0, maximum=MAX_WHOLE),
            "errors": {
                "type": "object",
                "description": "calls that failed, by class",
                "additionalProperties": False,
                "properties": dict.fromkeys(sorted(ERRORS), _FELT),
            },
            "latency": {
                "type": "object",
                "description": "calls by bucket; docs/api.md says which latencies a bucket has",
                "propertyNames": {"pattern": "^(0|[1-9][0-9]?|1[0-9]{2})$"},
                "additionalProperties": _FELT,
            },
            "breaker": {"enum": list(BREAKERS), "description": "of the shard's master"},
        },
    },
}
OWN_SETTINGS: Schema = {
    "type": "object",
    "description": "settings of the pool that the client overrides: up to 16 values by name",
    "maxProperties": 16,
    "propertyNames": text("1 to 40 characters", minLength=1, maxLength=40),
    "additionalProperties": text("the value, in words", maxLength=64),
}
STATS: Schema = {
    "type": "object",
    "description": "what the client felt since the last: up to 16 numbers, words or flags by name",
    "maxProperties": 16,
    "propertyNames": text("1 to 40 characters", minLength=1, maxLength=40),
    "additionalProperties": {
        "type": ["number", "string", "boolean", "null"],
        "description": "a number, a flag, null, or up to 64 characters",
        "maxLength": 64,
    },
}
