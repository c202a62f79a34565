"""The schemas of request bodies, which requests are validated against."""

from __future__ import annotations

from cachemesh.core.placement import Placement
from cachemesh.core.pool.settings import SETTINGS
from metaserver.api.contract.schema_parts import (
    ADDRESS,
    ALLOW_NONEMPTY,
    DRY_RUN,
    HOW,
    LABEL,
    LOOK,
    MAX_WAIT,
    MAX_WHOLE,
    MOST_SECONDS,
    NAME,
    OWN_SETTINGS,
    PACE,
    QUALITY,
    SETTING_VALUES,
    STATS,
    VERSION,
    WEIGHT,
    Schema,
    array,
    flag,
    nullable,
    number,
    request,
    text,
)

_PLACEMENT: dict[str, Schema] = {
    "hash": text("the strategy's hash function; its default unless given"),
    "hash_tag": nullable(text("the two characters round the part of a key that is hashed")),
    "named": {"type": "boolean", "description": "strategy jedis: whether its shards have names"},
}
_STRATEGY: Schema = text(
    "how keys find their shard, see docs/placement.md", enum=sorted(Placement.strategies)
)

REQUESTS: dict[str, Schema] = {
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
        settings={
            "type": "object",
            "description": "live configuration, see SettingsRequest",
            "properties": SETTING_VALUES,
            "additionalProperties": {
                "type": "null",
                "description": f"one of the settings {', '.join(SETTINGS)}",
            },
        },
        strategy={**_STRATEGY, "default": "slots"},
        **_PLACEMENT,
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
    "PlacementRequest": request(
        (),
        placement={
            **request(
                ("strategy",),
                strategy=_STRATEGY,
                **_PLACEMENT,
                labels={
                    "type": "object",
                    "description": "shard -> what the strategy hashes in place of its name",
                    "maxProperties": 1024,
                    "additionalProperties": LABEL,
                },
            ),
            "description": "the one to change to; without it, slots are dealt evenly again",
        },
        **HOW,
        **LOOK,
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
        **HOW,
        **LOOK,
    ),
    "NewSentinelRequest": request(
        ("sentinel",),
        sentinel=ADDRESS,
        version=VERSION,
        dry_run=DRY_RUN,
    ),
    "WeightRequest": request(
        ("weight",),
        weight=WEIGHT,
        version=VERSION,
        dry_run=DRY_RUN,
        **HOW,
        **LOOK,
    ),
    "PaceRequest": request(
        (),
        paused=flag("move no keys; clients still pull those that they ask for"),
        dry_run=DRY_RUN,
        **PACE,
    ),
    "PauseRequest": request(
        (),
        reason=text(
            "why, in one line of up to 200 characters; clients get it with the pool's document",
            maxLength=200,
            pattern=r"^[^\x00-\x1f\x7f-\x9f]*$",
        ),
        dry_run=DRY_RUN,
    ),
    "LostRequest": request(("shard",), shard=NAME, dry_run=DRY_RUN),
    "FailoverRequest": request(
        to={**ADDRESS, "description": "the replica to promote, host:port, port 1 to 65535"},
        timeout=number(
            "seconds after which nothing more is begun", "number", minimum=1, maximum=60, default=25
        ),
        hurry=flag("do not wait for the moment at which Sentinel notices the promotion soonest"),
        dry_run=DRY_RUN,
    ),
    "WatchRequest": request(
        ("client", "version"),
        client=text("an id that tells the client from others", minLength=1, maxLength=200),
        version=number(
            "the version the client acts on; 0 for none yet", minimum=0, maximum=MAX_WHOLE
        ),
        stats=nullable(STATS),
        wait=number("seconds to hold the call", "number", minimum=0, maximum=MAX_WAIT, default=25),
        sdk=nullable(text("name and version of the client's library", maxLength=100)),
        host=nullable(text("the machine that the client runs on", maxLength=255)),
        process=nullable(number("its process id there", minimum=0, maximum=MAX_WHOLE)),
        app=nullable(text("the app's own name for the client: its client_name", maxLength=200)),
        settings=nullable(OWN_SETTINGS),
        quality=nullable(QUALITY),
    ),
    "RestoreRequest": request(
        ("backup",),
        backup={
            "type": "object",
            "description": "as GET /v1/backup gave it, or what a client's snapshot file holds",
        },
        dry_run=DRY_RUN,
    ),
    "NewTokenRequest": request(
        ("name", "role"),
        name=NAME,
        role={"type": "string", "enum": ["read", "admin"], "description": "what it may do"},
        pools=array(
            NAME,
            description="the only pools it is good for",
            minItems=1,
            maxItems=64,
            uniqueItems=True,
        ),
        expires_in=number("seconds for which it is good", minimum=1, maximum=MOST_SECONDS),
    ),
    "RotateTokenRequest": request(
        overlap=number(
            "seconds for which the text from before is good too",
            minimum=0,
            maximum=MOST_SECONDS,
            default=3600,
        ),
    ),
}
