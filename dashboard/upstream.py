"""Calls the metaserver's /v1 with one token, and words its errors for operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from cachemesh.core.errors import MetaserverError, MetaserverUnavailableError
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.metaserver_request import Query
from dashboard.config import DashboardConfig

Json = Mapping[str, Any]
UPSTREAM_ERRORS = (MetaserverError, MetaserverUnavailableError)
EVENT_LIMIT = 40
_LASTING = (400, 401, 403, 404)  # HTTP status


@dataclass(frozen=True)
class OperatorProblem:
    """Why something did not work, in words for the operator.

    Attributes:
        title, detail: what is wrong.
        next_step: what to do about it, or None.
        code: the metaserver's error code.
        status: HTTP status; 0: no metaserver answered.
    """

    title: str
    detail: str
    next_step: str | None = None
    code: str = "invalid-input"
    status: int = 400

    @property
    def lasts(self) -> bool:
        """Whether the same question would get the same answer: for this token, of this pool."""
        return self.status in _LASTING


def problem_of(error: MetaserverError | MetaserverUnavailableError) -> OperatorProblem:
    """Word an error of the metaserver client for the operator."""
    if isinstance(error, MetaserverError):
        title = str(error.body.get("title") or error.code.replace("-", " ").capitalize())
        return OperatorProblem(title, error.detail, error.next_step, error.code, error.status)
    return OperatorProblem(
        "Metaserver unreachable",
        str(error),
        "Look at the metaserver process; apps go on with the last topology they know.",
        "metaserver-unavailable",
        0,
    )


class Upstream:
    """Calls to /v1 with one token. Every call may raise one of `UPSTREAM_ERRORS`.

    Args:
        config: has the metaservers and timeouts.
        token: of the operator.
    """

    def __init__(self, config: DashboardConfig, token: str) -> None:
        self._client = MetaserverClient(
            config.metaservers, token=token, timeout=config.read_timeout, tls=config.tls
        )
        self._change_timeout = config.change_timeout

    def pools(self) -> list[Json]:
        """Return all pools."""
        return list(self._client.request("GET", "/v1/pools")["pools"])

    def own_token(self) -> Json:
        """Return role and pools of the token."""
        return self._get("/v1/token")

    def document(self, pool: str) -> Json:
        """Return the pool's document."""
        return self._get(_pool(pool))

    def status(self, pool: str) -> Json:
        """Return the pool's status."""
        return self._get(_pool(pool) + "/status")

    def quality(self, pool: str) -> Json:
        """Return what apps feel of the pool, of the last minute."""
        return self._get(_pool(pool) + "/quality")

    def clients(self, pool: str) -> list[Json]:
        """Return the live clients of the pool."""
        return list(self._get(_pool(pool) + "/clients")["clients"])

    def convergence(self, pool: str) -> Json:
        """Return how many clients act on which version of the pool, and which lag."""
        return self._get(_pool(pool) + "/convergence")

    def findings(self, pool: str) -> Json:
        """Return what is configured wrong at the pool's servers, all of which are asked."""
        answer: Json = self._client.request(
            "GET", _pool(pool) + "/findings", timeout=self._change_timeout
        )
        return answer

    def sentinels(self, pool: str) -> Json:
        """Return what each Sentinel says about each shard."""
        return self._get(_pool(pool) + "/sentinels")

    def shard(self, pool: str, name: str) -> Json:
        """Return one shard's status."""
        return self._get(_shard(pool, name))

    def slow_log(self, pool: str, name: str, limit: int) -> Json:
        """Return the slow log of each instance of a shard, which are asked now.

        Args:
            limit: commands of each at most.
        """
        query: Query = {"limit": limit}
        answer: Json = self._client.request("GET", _shard(pool, name) + "/slowlog", query=query)
        return answer

    def connections(self, pool: str, name: str, limit: int) -> Json:
        """Return the connections of a shard's master, which is asked now.

        Args:
            limit: how many are named one by one at most.
        """
        query: Query = {"limit": limit}
        answer: Json = self._client.request("GET", _shard(pool, name) + "/connections", query=query)
        return answer

    def history(self, pool: str, *, seconds: int, step: int, shard: str | None = None) -> Json:
        """Return what was known of the pool, or of one shard, in the last seconds.

        Args:
            seconds: by the clock of the metaserver.
            step: seconds of each point.
        """
        query: Query = {"seconds": seconds, "step": step}
        if shard is not None:
            query = {**query, "shard": shard}
        answer: Json = self._client.request("GET", _pool(pool) + "/history", query=query)
        return answer

    def events(
        self, pool: str, limit: int = EVENT_LIMIT, wanted: Query | None = None
    ) -> list[Json]:
        """Return the pool's last events, newest first.

        Args:
            limit: how many at most.
            wanted: which of them, as docs/api.md says.
        """
        query = {**(wanted or {}), "pool": pool, "limit": limit}
        return list(self._client.request("GET", "/v1/events", query=query)["events"])

    def stream(self, pool: str) -> Iterator[tuple[str, Json]]:
        """Yield `document`, `status` and `event` messages until the connection ends."""
        return self._client.stream("/v1/stream", query={"pool": pool})

    def create_pool(self, body: Json) -> Json:
        """Create a pool; return the plan or the outcome."""
        return self._change("POST", "/v1/pools", body=dict(body))

    def set_settings(self, pool: str, body: Json) -> Json:
        """Change settings of a pool; return the plan or the outcome."""
        return self._change("PATCH", _pool(pool) + "/settings", body=dict(body))

    def add_shard(self, pool: str, body: Json) -> Json:
        """Add a shard; return the plan or the outcome."""
        return self._change("POST", _pool(pool) + "/shards", body=dict(body))

    def set_weight(self, pool: str, name: str, body: Json) -> Json:
        """Set a shard's weight; return the plan or the outcome."""
        return self._change("PATCH", _shard(pool, name), body=dict(body))

    def remove_shard(self, pool: str, name: str, query: Query) -> Json:
        """Remove a shard; return the plan or the outcome."""
        return self._change("DELETE", _shard(pool, name), query=query)

    def set_pace(self, pool: str, pace: Json) -> Json:
        """Pause or resume the move of keys under way, or bound its speed."""
        return self._change("PATCH", _pool(pool) + "/resize", body=dict(pace))

    def give_up_resize(self, pool: str, *, dry_run: bool) -> Json:
        """Give up the resize under way; return the plan or the outcome."""
        return self._change("DELETE", _pool(pool) + "/resize", query={"dry_run": dry_run})

    def pause(self, pool: str, body: Json) -> Json:
        """Pause a pool; return the plan or the outcome."""
        return self._change("POST", _pool(pool) + "/pause", body=dict(body))

    def resume(self, pool: str) -> Json:
        """End the pause of a pool."""
        return self._change("DELETE", _pool(pool) + "/pause")

    def fail_over(self, pool: str, name: str, body: Json) -> Json:
        """Fail over a shard; return the plan or the outcome."""
        return self._change("POST", _shard(pool, name) + "/failover", body=dict(body))

    def tokens(self) -> list[Json]:
        """Return all tokens, without their text."""
        return list(self._get("/v1/tokens")["tokens"])

    def create_token(self, body: Json, key: str) -> Json:
        """Create a token; the reply has its text.

        Args:
            key: of the form: sent again, it creates no other token, and is refused (answer-lost).
        """
        return self._change("POST", "/v1/tokens", body=dict(body), key=key)

    def rotate_token(self, token: str, overlap: int, key: str) -> Json:
        """Give a token another text, which the reply has.

        Args:
            token: its id.
            overlap: seconds for which the text from before is good too.
            key: as of `create_token`.
        """
        path = f"/v1/tokens/{quote(token, safe='')}/rotate"
        return self._change("POST", path, body={"overlap": overlap}, key=key)

    def revoke_token(self, token: str) -> None:
        """Revoke the token with this id."""
        self._change("DELETE", f"/v1/tokens/{quote(token, safe='')}")

    def _get(self, path: str) -> Json:
        answer: Json = self._client.request("GET", path)
        return answer

    def _change(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        query: Query | None = None,
        key: str | None = None,
    ) -> Json:
        answer: Json = self._client.request(
            method, path, body=body, query=query, timeout=self._change_timeout, key=key
        )
        return answer


def _pool(pool: str) -> str:
    return f"/v1/pools/{quote(pool, safe='')}"


def _shard(pool: str, name: str) -> str:
    return f"{_pool(pool)}/shards/{quote(name, safe='')}"
