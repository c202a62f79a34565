"""What /metrics says of a real pool: every metric there is, and what Prometheus takes for valid."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

from cachemesh.local import LocalStack
from metaserver.api.metrics import METRICS
from tests.support.metaserver_process import Api
from tests.support.needs import needs
from tests.support.waiting import until

SOMETIMES = (
    *("cachemesh_resize_", "cachemesh_apps_", "cachemesh_pool_oldest_sweep_"),
    "cachemesh_webhook_",
)
"""Metrics that there are only while a resize or a sweep goes on, once clients have reported, where
events are posted."""
ALWAYS = {name for name in METRICS if not name.startswith(SOMETIMES)}


@pytest.fixture
def api(cachemesh_stack: LocalStack) -> Api:
    return Api(cachemesh_stack.info["metaservers"][0], cachemesh_stack.token)


def scraped(api: Api) -> dict[str, list[str]]:
    """Return the samples of each metric."""
    found: dict[str, list[str]] = {}
    for line in api("GET", "/metrics").text.splitlines():
        if name := re.match(r"[a-z_]+", line):
            found.setdefault(name[0], []).append(line)
    return found


def test_a_pool_that_is_used_has_every_metric(
    api: Api, cachemesh_stack: LocalStack, cachemesh_client: Any
) -> None:
    cachemesh_client.set("k", "v")
    assert cachemesh_client.get("k") == b"v"
    assert cachemesh_client.get("nothing") is None
    until(lambda: scraped(api).keys() >= ALWAYS)
    samples = scraped(api)
    instances = [
        address
        for shard in cachemesh_stack.info["shards"]
        for address in (shard["master"], *shard["replicas"])
    ]
    for address in instances:
        up = [line for line in samples["cachemesh_instance_up"] if f'address="{address}"' in line]
        assert [line.split()[-1] for line in up] == ["1"]
    sentinels = cachemesh_stack.info["sentinels"]
    assert len(samples["cachemesh_sentinel_up"]) == len(sentinels)
    shards = len(cachemesh_stack.info["shards"])
    until(
        lambda: (
            [line.split()[-1] for line in scraped(api)["cachemesh_sentinel_agrees"]]
            == ["1"] * (len(sentinels) * shards)
        )
    )


def test_prometheus_takes_it(api: Api) -> None:
    until(lambda: ALWAYS - {"cachemesh_pool_clients_by_sdk"} <= scraped(api).keys())
    text = api("GET", "/metrics").text
    command = [needs("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
