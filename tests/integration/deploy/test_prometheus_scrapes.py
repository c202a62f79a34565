"""A real Prometheus with the files of `deploy/prometheus` scrapes a real metaserver."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from cachemesh.local import LocalStack
from cachemesh.local.ports import Ports
from tests.support.configured_servers import await_port
from tests.support.metaserver_process import ROOT, Api
from tests.support.needs import needs
from tests.support.waiting import AT_MOST, until

FILES = ROOT / "deploy" / "prometheus"


def configure(directory: Path, stack: LocalStack) -> None:
    """Write the files of a Prometheus that scrapes the stack, which speaks no TLS, each second."""
    shutil.copy(FILES / "cachemesh.rules.yml", directory)
    api = Api(stack.info["metaservers"][0], stack.token)
    made = api("POST", "/v1/tokens", {"name": "prometheus", "role": "read"})
    assert made.status == 201, made.text
    (directory / "cachemesh.token").write_text(f"{made.json['token']}\n")
    config = yaml.safe_load((FILES / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (job,) = config["scrape_configs"]
    del job["tls_config"]
    job["scheme"] = "http"
    job["authorization"]["credentials_file"] = str(directory / "cachemesh.token")
    job["static_configs"] = [{"targets": stack.info["metaservers"]}]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def prometheus(
    cachemesh_stack: LocalStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    program = needs("prometheus")
    directory = tmp_path_factory.mktemp("prometheus")
    configure(directory, cachemesh_stack)
    address = f"127.0.0.1:{Ports().take()}"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={address}",
            ],
            stderr=log,
            cwd=directory,
        )
    try:
        await_port(int(address.rpartition(":")[2]))
        until(lambda: ready(address))
        yield address
    finally:
        process.terminate()
        process.wait(AT_MOST)


def ready(address: str) -> bool:
    """Return whether Prometheus has read what it had stored, and answers queries."""
    connection = http.client.HTTPConnection(address, timeout=AT_MOST)
    connection.request("GET", "/-/ready")
    status = connection.getresponse().status
    connection.close()
    return status == 200


def ask(address: str, path: str, **query: str) -> Any:
    """Return the data of a reply of Prometheus."""
    connection = http.client.HTTPConnection(address, timeout=AT_MOST)
    connection.request("GET", f"/api/v1/{path}?{urlencode(query)}")
    reply = json.loads(connection.getresponse().read())
    connection.close()
    return reply.get("data")


def value(address: str, query: str) -> list[str]:
    """Return the values that a query has now."""
    found = ask(address, "query", query=query)
    return [sample["value"][1] for sample in found["result"]] if found else []


def test_it_scrapes_with_the_token_of_the_file(
    prometheus: str, cachemesh_stack: LocalStack
) -> None:
    until(lambda: value(prometheus, 'up{job="cachemesh"}') == ["1"])
    shards = len(cachemesh_stack.info["shards"])
    until(lambda: value(prometheus, "sum(cachemesh_shard_up)") == [str(shards)])
    until(lambda: value(prometheus, "sum(cachemesh_shard_share_ratio)") == ["1"])


def test_it_evaluates_every_rule_and_none_fires_on_a_healthy_pool(prometheus: str) -> None:
    def evaluated() -> list[dict[str, Any]]:
        rules = [rule for group in ask(prometheus, "rules")["groups"] for rule in group["rules"]]
        return rules if all(rule["health"] == "ok" for rule in rules) else []

    rules = until(evaluated)
    groups = yaml.safe_load((FILES / "cachemesh.rules.yml").read_text(encoding="utf-8"))
    assert len(rules) == sum(len(group["rules"]) for group in groups["groups"])
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
    # A local stack has no memory limit, which is told in a quarter of an hour.
    query = 'ALERTS{alertname="CacheMeshNoMemoryLimit", alertstate="pending"}'
    until(lambda: value(prometheus, f"count({query})"))
