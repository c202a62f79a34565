"""The schemas of the OpenAPI document (JSON Schema 2020-12), by name.

Request bodies are validated against those named `...Request`. A `pattern` comes with a
`description` in words, which is what a caller reads when it does not match.
"""

from __future__ import annotations

import json
from typing import Any

from cachemesh.core.names import NAME_PATTERN
from cachemesh.core.placement import MAX_WEIGHT, Placement
from cachemesh.core.pool.settings import SETTINGS, Setting

Schema = dict[str, Any]

NAME_IN_WORDS = "1 to 64 characters of A-Z a-z 0-9 . _ - with a letter or digit first"
MAX_WAIT = 60.0


def ref(name: str) -> Schema:
    """A reference to the schema `name`."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(description: str, **more: Any) -> Schema:
    """A string."""
    return {"type": "string", "description": description, **more}


def number(description: str, kind: str = "integer", **more: Any) -> Schema:
    """An integer, or with kind "number" any number."""
    return {"type": kind, "description": description, **more}


def flag(description: str) -> Schema:
    """A boolean that is false unless given."""
    return {"type": "boolean", "description": description, "default": False}


def array(of: Schema, **more: Any) -> Schema:
    """A list. Its bounds come first: what is too long is not looked at item by item."""
    return {"type": "array", **more, "items": of}


def nullable(schema: Schema) -> Schema:
    """The schema, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def request(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """An object that has no other fields than these."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def reply(**properties: Schema) -> Schema:
    """An object that has all of these fields; a later release may add others."""
    return {"type": "object", "properties": properties, "required": list(properties)}


NAME = text(NAME_IN_WORDS, pattern=NAME_PATTERN)
ADDRESS = text("host:port, or [ipv6]:port", minLength=3, maxLength=300)
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


MAX_WHOLE = 2**53 - 1  # what every JSON parser keeps exactly (RFC 7493)
VERSION = number(
    "the change is refused unless the pool is at this version", minimum=1, maximum=MAX_WHOLE
)
DRY_RUN = flag("say what would happen, and change nothing")
ALLOW_NONEMPTY = flag("take an instance that holds keys already")
TIME = text("RFC 3339 in UTC", format="date-time")
COUNT = number("how many", minimum=0)
RATIO = number("0 to 1", "number", minimum=0, maximum=1)
SETTING_VALUES = {setting.name: _setting(setting) for setting in SETTINGS.values()}

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

_REQUESTS: dict[str, Schema] = {
    "NewPoolRequest": request(
        ("pool", "sentinels", "shards"),
        pool=NAME,
        sentinels=array(ADDRESS, minItems=1, maxItems=32, uniqueItems=True),
        shards=array(
            request(("name", "master"), name=NAME, master=ADDRESS, weight=WEIGHT, label=LABEL),
            minItems=1,
            maxItems=1024,
        ),
        quorum=number(
            "how many Sentinels must agree that a master is down", minimum=1, maximum=MAX_WHOLE
        ),
        settings={"type": "object", "description": "live configuration, see SettingsRequest"},
        strategy=text(
            "how keys find their shard, see docs/placement.md",
            enum=sorted(Placement.strategies),
            default="slots",
        ),
        hash=text("the strategy's hash function; its default unless given"),
        hash_tag=nullable(text("the two characters round the part of a key that is hashed")),
        named={"type": "boolean", "description": "strategy jedis: whether its shards have names"},
        allow_nonempty=ALLOW_NONEMPTY,
        dry_run=DRY_RUN,
    ),
    "SettingsRequest": request(
        ("settings",),
        settings={
            "type": "object",
            "description": "what to set; a setting of a newer release can be reset with null",
            "properties": SETTING_VALUES,
            "additionalProperties": {
                "type": "null",
                "description": f"one of the settings {', '.join(SETTINGS)}",
            },
        },
        version=VERSION,
        dry_run=DRY_RUN,
    ),
    "NewShardRequest": request(
        ("name", "master"),
        name=NAME,
        master=ADDRESS,
        weight=WEIGHT,
        allow_nonempty=ALLOW_NONEMPTY,
        version=VERSION,
        dry_run=DRY_RUN,
    ),
    "WeightRequest": request(("weight",), weight=WEIGHT, version=VERSION, dry_run=DRY_RUN),
    "FailoverRequest": request(
        to=text("the replica to promote, host:port", minLength=3, maxLength=300),
        timeout=number(
            "seconds after which nothing more is begun", "number", minimum=1, maximum=60, default=25
        ),
        hurry=flag("do not wait for the moment at which Sentinel notices the promotion soonest"),
        dry_run=DRY_RUN,
    ),
    "WatchRequest": request(
        ("client", "version"),
        client=text("any name that tells the client from others", minLength=1, maxLength=200),
        version=number(
            "the version the client acts on; 0 for none yet", minimum=0, maximum=MAX_WHOLE
        ),
        stats=nullable(STATS),
        wait=number("seconds to hold the call", "number", minimum=0, maximum=MAX_WAIT, default=25),
    ),
    "NewTokenRequest": request(
        ("name", "role"),
        name=NAME,
        role={"type": "string", "enum": ["read", "admin"], "description": "what it may do"},
    ),
}

_POOL: dict[str, Schema] = {
    "Pools": reply(
        pools=array(
            reply(
                pool=NAME,
                version=COUNT,
                strategy=text("how keys find their shard"),
                shards=COUNT,
                health={"enum": ["ok", "degraded", "down"]},
            )
        )
    ),
    "Document": reply(
        format={"const": 1},
        pool=NAME,
        version=number("rises with every change", minimum=1),
        placement={"type": "object"},
        migration={"type": ["object", "null"]},
        sentinels=array(ADDRESS),
        settings={"type": "object"},
    ),
    "Change": reply(
        dry_run={"type": "boolean"},
        pool=NAME,
        version_before=COUNT,
        version_after=COUNT,
        summary=text("the change in one line"),
        steps=array(text("what was done, or would be")),
        moves=array(reply(source=NAME, target=NAME, slots=COUNT)),
        moved_slots=COUNT,
        moved_share=RATIO,
        keys_moved={"type": ["integer", "null"], "description": "an estimate"},
        destroys=array(text("what is lost")),
        warnings=array(text("what to look at")),
        document=nullable(ref("Document")),
    ),
    "Failover": reply(
        dry_run={"type": "boolean"},
        pool=NAME,
        shard=NAME,
        summary=text("the failover in one line"),
        master_before=ADDRESS,
        master_after=ADDRESS,
        lag_bytes={"type": ["integer", "null"], "description": "of the new master, before"},
        candidates=array(reply(address=ADDRESS, lag_bytes=COUNT)),
        steps=array(text("what was done, or would be")),
        warnings=array(text("what to look at")),
        timings={"type": ["object", "null"], "description": "in ms, null for a dry run"},
    ),
    "Forgotten": reply(
        dry_run={"type": "boolean"},
        pool=NAME,
        shard=NAME,
        summary=text("in one line"),
        steps=array(text("what was done, or would be")),
        warnings=array(text("what to look at")),
    ),
    "Status": reply(
        pool=NAME,
        version=COUNT,
        at=TIME,
        health={"enum": ["ok", "degraded", "down"]},
        shards=array(ref("Shard")),
        sentinels=array(reply(address=ADDRESS, up={"type": "boolean"})),
        sweeps=array(
            reply(
                shard=NAME,
                state={"enum": ["waiting", "running", "failed"]},
                drained={"type": "boolean"},
            )
        ),
        clients=COUNT,
    ),
    "Shards": reply(shards=array(ref("Shard"))),
    "Shard": reply(
        name=NAME,
        weight={"type": ["integer", "null"]},
        slots=nullable(COUNT),
        share=RATIO,
        state={"enum": ["up", "failing over", "joining", "degraded", "down", "draining"]},
        reason={"type": ["string", "null"]},
        warnings=array(text("what to know though it serves")),
        master={"type": ["object", "null"]},
        replicas=array({"type": "object"}),
        sentinel={"type": "object"},
    ),
    "Clients": reply(
        clients=array(
            reply(
                client=text("its name"),
                version=COUNT,
                seen=TIME,
                address=text("where it called from"),
                stats={"type": ["object", "null"]},
            )
        )
    ),
    "Watch": reply(
        changed={"type": "boolean"},
        document=nullable(ref("Document")),
        lease=number("seconds for which the client counts as live", "number"),
    ),
}

_REST: dict[str, Schema] = {
    "Events": reply(events=array(ref("Event"))),
    "Event": reply(
        id=COUNT,
        at=TIME,
        actor=text("token:NAME, or system"),
        action=text("what happened"),
        pool={"type": ["string", "null"]},
        target={"type": ["string", "null"]},
        detail=text("in words"),
        before={"type": ["object", "null"]},
        after={"type": ["object", "null"]},
    ),
    "Tokens": reply(tokens=array(ref("Token"))),
    "Token": reply(
        id=text("for DELETE /v1/tokens/ID"),
        name=NAME,
        role={"enum": ["read", "admin"]},
        created=TIME,
        last_used=nullable(TIME),
    ),
    "NewToken": reply(
        id=text("for DELETE /v1/tokens/ID"),
        name=NAME,
        role={"enum": ["read", "admin"]},
        token=text("the bearer token; shown this once"),
    ),
    "Probe": reply(status={"const": "ok"}),
    "Problem": reply(
        type=text("urn:cachemesh:problem:CODE"),
        title=text("the problem in general"),
        status=number("HTTP status"),
        detail=text("this problem"),
        code=text("machine-readable name"),
        next={"type": ["string", "null"], "description": "what to do about it"},
        instance=text("path of the request"),
    ),
}

SCHEMAS: dict[str, Schema] = {**_REQUESTS, **_POOL, **_REST}
