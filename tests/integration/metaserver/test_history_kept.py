"""The history of a real metaserver, which is killed, and of one that does not lead."""

from __future__ import annotations

import signal

import redis

from cachemesh.core.names import parse_address
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.metaserver_request import Query
from cachemesh.local import LocalStack
from tests.support.cli_in_process import run_here
from tests.support.metaserver_process import Api
from tests.support.waiting import until

HISTORY = "/v1/pools/cache/history"


def test_it_outlives_its_metaserver_and_is_told_by_the_one_that_leads() -> None:
    with LocalStack(shards=1, replicas=1, metaservers=2, dashboard=False) as stack:
        apis = [Api(address, stack.token) for address in stack.info["metaservers"]]
        either = MetaserverClient(stack.info["metaservers"], token=stack.token)

        def leads(api: Api) -> bool:
            return Api(api.address)("GET", "/leader").status == 200

        leader = until(lambda: [api for api in apis if leads(api)])[0]
        other = next(api for api in apis if api is not leader)
        refused = other("GET", HISTORY)
        assert (refused.status, refused.problem) == (503, "not-leader")
        assert leader.address in refused.json["detail"]

        address = parse_address(stack.info["shards"][0]["master"])
        with redis.Redis(address.host, address.port) as client:
            client.mset({f"key:{number}": "x" for number in range(100)})
        known = until(
            lambda: [
                point
                for point in either.request("GET", HISTORY, query={"shard": "cache-0"})["points"]
                if point["keys"] == 100 and point["ops_per_second"]
            ]
        )[0]
        assert known["lag_bytes"] is not None
        assert known["used_memory"] > 100
        whole = either.request("GET", HISTORY)
        assert (whole["shard"], whole["points"][-1]["keys"]) == (None, 100)
        assert whole["step"] == 10

        for api in apis:
            stack.process(api.address).kill(signal.SIGKILL)
        for api in apis:
            stack.process(api.address).restart()
        until(lambda: any(leads(api) for api in apis))
        fine: Query = {"shard": "cache-0", "step": 5}
        found = either.request("GET", HISTORY, query=fine)
        assert any(point["keys"] == 100 for point in found["points"]), "as before"
        last = found["points"][-1]["at"]
        until(lambda: either.request("GET", HISTORY, query=fine)["points"][-1]["at"] > last)

        words = ("pool", "history", "--shard", "cache-0", "--since", "10m", "--step", "5")
        code, told, _ = run_here(stack.info["env"], *words)
        assert (code, told.split()[:2]) == (0, ["at", "ops/s"])
        assert any("100" in line.split() for line in told.splitlines())
        assert run_here(stack.info["env"], "pool", "history", "--shard", "nothing")[0] == 4

        leader = next(api for api in apis if leads(api))
        assert leader("GET", f"{HISTORY}?shard=nothing").problem == "shard-not-found"
        assert leader("GET", f"{HISTORY}?since=2026-02-30").problem == "invalid-content"
        assert leader("GET", f"{HISTORY}?step=1").problem == "bad-request"
        lately = leader("GET", f"{HISTORY}?seconds=300&step=5").json
        assert lately["points"]
        assert lately["since"] < lately["points"][0]["at"]
        both = leader("GET", f"{HISTORY}?seconds=300&since=2026-01-31")
        assert both.problem == "bad-request" and "since and seconds" in both.json["detail"]
        assert leader("GET", "/v1/pools/nothing/history").problem == "pool-not-found"
