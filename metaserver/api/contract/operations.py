"""Every operation of the API in one table, the source of routes, access and OpenAPI document."""

from __future__ import annotations

from typing import Any

from metaserver.api.contract.operation import Operation
from metaserver.api.contract.schema_parts import (
    ADDRESS,
    DRY_RUN,
    HOW,
    LOOK,
    MAX_WHOLE,
    NAME,
    VERSION,
    flag,
    number,
    text,
)
from metaserver.domain.history import COARSE, FINE

_CHANGE = {"version": VERSION, "dry_run": DRY_RUN}

_POOL = "/v1/pools/{pool}"
_SINCE = r"^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?Z?)?$"
_SHARD = "/v1/pools/{pool}/shards/{shard}"

OPERATIONS: tuple[Operation, ...] = (
    Operation("listPools", "read", "GET", "/v1/pools", "Every pool", "Pools", listing=True),
    Operation(
        "createPool",
        "admin",
        "POST",
        "/v1/pools",
        "Create a pool of instances that Sentinel shall watch",
        "Change",
        "NewPoolRequest",
        201,
        max_body=1024 * 1024,
    ),
    Operation("getPool", "read", "GET", _POOL, "The pool document", "Document"),
    Operation("deletePool", "admin", "DELETE", _POOL, "Forget a pool", "Change", query={**_CHANGE}),
    Operation(
        "changeSettings",
        "admin",
        "PATCH",
        f"{_POOL}/settings",
        "Change the live configuration of all clients",
        "Change",
        "SettingsRequest",
    ),
    Operation(
        "setPlacement",
        "admin",
        "PATCH",
        f"{_POOL}/placement",
        "Deal the keys to the shards anew: evenly again, or by another strategy",
        "Change",
        "PlacementRequest",
        max_body=256 * 1024,
    ),
    Operation(
        "pausePool",
        "admin",
        "POST",
        f"{_POOL}/pause",
        "Do nothing on a pool by itself, and refuse changes of its placement, until it is resumed",
        "PauseChange",
        "PauseRequest",
    ),
    Operation(
        "resumePool",
        "admin",
        "DELETE",
        f"{_POOL}/pause",
        "Go on with a pool that is paused",
        "PauseChange",
        query={"dry_run": DRY_RUN},
    ),
    Operation("getStatus", "read", "GET", f"{_POOL}/status", "The live view of a pool", "Status"),
    Operation(
        "getFindings",
        "admin",
        "GET",
        f"{_POOL}/findings",
        "What is configured wrong in a pool, as its servers say now",
        "Findings",
    ),
    Operation(
        "listSentinels",
        "read",
        "GET",
        f"{_POOL}/sentinels",
        "What each Sentinel says about each shard, as last observed",
        "Sentinels",
    ),
    Operation(
        "addSentinel",
        "admin",
        "POST",
        f"{_POOL}/sentinels",
        "Have another Sentinel monitor the shards of a pool",
        "Change",
        "NewSentinelRequest",
        201,
    ),
    Operation(
        "removeSentinel",
        "admin",
        "DELETE",
        f"{_POOL}/sentinels/{{sentinel}}",
        "Have a Sentinel forget the shards of a pool, and the others forget the Sentinel",
        "Change",
        query={
            **_CHANGE,
            "force": flag("remove it although it, or too many others, do not answer"),
        },
    ),
    Operation("listClients", "read", "GET", f"{_POOL}/clients", "The clients of a pool", "Clients"),
    Operation(
        "getConvergence",
        "read",
        "GET",
        f"{_POOL}/convergence",
        "Which clients act on which version, and which lag",
        "Convergence",
    ),
    Operation(
        "getQuality",
        "read",
        "GET",
        f"{_POOL}/quality",
        "What the pool's apps feel of each shard",
        "Quality",
        query={
            "seconds": number(
                "of the sums by shard, up to now", minimum=1, maximum=3600, default=60
            )
        },
    ),
    Operation(
        "getHistory",
        "read",
        "GET",
        f"{_POOL}/history",
        "The figures of a pool, or of one shard, of the last day; the leader has them",
        "History",
        query={
            "shard": NAME,
            "since": text("from then on, in UTC; an hour ago unless given", pattern=_SINCE),
            "seconds": number(
                "of the last so many, in place of since: by the clock of the metaserver",
                minimum=FINE.step,
                maximum=COARSE.seconds,
            ),
            "step": number(
                "seconds of each point; more where that makes too many, or none are so short",
                minimum=FINE.step,
                maximum=86_400,
            ),
        },
    ),
    Operation(
        "watchPool",
        "read",
        "POST",
        f"{_POOL}/watch",
        "Wait for a newer version, and acknowledge the one in use",
        "Watch",
        "WatchRequest",
        max_body=64 * 1024,
    ),
    Operation(
        "leavePool",
        "read",
        "DELETE",
        f"{_POOL}/clients/{{client}}",
        "A client says that it follows the pool no more",
        status=204,
    ),
    Operation("listShards", "read", "GET", f"{_POOL}/shards", "The shards of a pool", "Shards"),
    Operation(
        "addShard",
        "admin",
        "POST",
        f"{_POOL}/shards",
        "Add a shard",
        "Change",
        "NewShardRequest",
        201,
    ),
    Operation("getShard", "read", "GET", _SHARD, "One shard", "Shard"),
    Operation(
        "getSlowLog",
        "admin",  # arguments of commands are an app's data
        "GET",
        f"{_SHARD}/slowlog",
        "The commands that took longest of late, on each instance of a shard",
        "SlowLog",
        query={"limit": number("at most so many of each", minimum=1, maximum=128, default=20)},
    ),
    Operation(
        "getConnections",
        "admin",  # as the slow log
        "GET",
        f"{_SHARD}/connections",
        "The connections of a shard's master by app, as CLIENT LIST has them now",
        "Connections",
        query={
            "limit": number(
                "at most so many that are idle longest, and that have large output",
                minimum=1,
                maximum=128,
                default=20,
            )
        },
    ),
    Operation(
        "setWeight", "admin", "PATCH", _SHARD, "Set a shard's weight", "Change", "WeightRequest"
    ),
    Operation(
        "removeShard",
        "admin",
        "DELETE",
        _SHARD,
        "Remove a shard",
        "Change",
        query={**_CHANGE, **HOW, **LOOK},
    ),
    Operation(
        "failOver",
        "admin",
        "POST",
        f"{_SHARD}/failover",
        "Have a replica take over from the master, without losing a write",
        "Failover",
        "FailoverRequest",
    ),
    Operation(
        "giveUpResize",
        "admin",
        "DELETE",
        f"{_POOL}/resize",
        "Give up the resize under way: the placement stays as it was, keys move back",
        "ResizeChange",
        query={"dry_run": DRY_RUN},
    ),
    Operation(
        "setPace",
        "admin",
        "PATCH",
        f"{_POOL}/resize",
        "Pause or resume the move of keys under way, or bound its speed",
        "ResizeChange",
        "PaceRequest",
    ),
    Operation(
        "markLost",
        "admin",
        "POST",
        f"{_POOL}/resize/lost",
        "Go on with the resize under way without the data of a shard, which is lost",
        "ResizeChange",
        "LostRequest",
    ),
    Operation(
        "forgetSweep",
        "admin",
        "DELETE",
        f"{_POOL}/sweeps/{{shard}}",
        "Give up on a drained shard whose instance does not come back",
        "Forgotten",
        query={"dry_run": DRY_RUN},
    ),
    Operation(
        "listEvents",
        "read",
        "GET",
        "/v1/events",
        "The audit log, newest first",
        "Events",
        query={
            "pool": text("only of this pool"),
            "shard": text("only about this shard, or a replica of it"),
            "action": text("only this action, or all that begin with this and a dot"),
            "since": text(
                "only of this time or later, in UTC: 2026-01-31, or 2026-01-31T12:00:00Z",
                pattern=_SINCE,
            ),
            "text": text("only with this in actor, action, target or detail", maxLength=200),
            "after": number("only with an id above this", minimum=0, maximum=MAX_WHOLE, default=0),
            "before": number("only with an id below this", minimum=1, maximum=MAX_WHOLE),
            "limit": number("at most so many", minimum=1, maximum=1000, default=100),
        },
        listing=True,
    ),
    Operation(
        "stream",
        "read",
        "GET",
        "/v1/stream",
        "Documents, statuses and events as they come, as server-sent events",
        query={"pool": NAME},
        media="text/event-stream",
        listing=True,
    ),
    Operation(
        "getOwnToken",
        "read",
        "GET",
        "/v1/token",
        "The token of this call: its role, and the pools that it is good for",
        "OwnToken",
        listing=True,
    ),
    Operation("listTokens", "admin", "GET", "/v1/tokens", "Every token, without text", "Tokens"),
    Operation(
        "createToken",
        "admin",
        "POST",
        "/v1/tokens",
        "Create a token",
        "NewToken",
        "NewTokenRequest",
        201,
    ),
    Operation(
        "rotateToken",
        "admin",
        "POST",
        "/v1/tokens/{token}/rotate",
        "Give a token another text, beside which the one from before is good for a while",
        "RotatedToken",
        "RotateTokenRequest",
    ),
    Operation("revokeToken", "admin", "DELETE", "/v1/tokens/{token}", "Revoke a token", status=204),
    Operation(
        "takeBackup", "admin", "GET", "/v1/backup", "Every pool and token, to be kept", "Backup"
    ),
    Operation(
        "restoreBackup",
        "admin",
        "POST",
        "/v1/restore",
        "Create the pools and tokens of a backup that are not here",
        "Restored",
        "RestoreRequest",
        max_body=16 * 1024 * 1024,
    ),
    Operation(
        "listMetaservers",
        "read",
        "GET",
        "/v1/metaservers",
        "The metaserver processes, and which of them leads",
        "Metaservers",
        listing=True,
    ),
    Operation("livez", "public", "GET", "/livez", "The process answers", "Probe"),
    Operation(
        "readyz", "public", "GET", "/readyz", "This process serves reads and changes", "Probe"
    ),
    Operation("leader", "public", "GET", "/leader", "This process leads", "Leader"),
    Operation(
        "metrics",
        "read",
        "GET",
        "/metrics",
        "Prometheus metrics",
        media="text/plain",
        listing=True,
    ),
    Operation("openapi", "public", "GET", "/openapi.json", "This description"),
)

BY_ID: dict[str, Operation] = {operation.id: operation for operation in OPERATIONS}

PATH_PARAMETERS: dict[str, dict[str, Any]] = {
    "pool": NAME,
    "shard": NAME,
    "sentinel": ADDRESS,
    "client": text("a client's name, as in its watch calls"),
    "token": text("a token's id"),
}
