"""The leader is cut off from ZooKeeper and the other metaservers: its late writes are refused."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.metaserver_process import Api, Metaserver
from tests.support.network_namespaces import (
    MAJORITY,
    MINORITY,
    SplitNetwork,
    needs_namespaces,
    split_network,
)
from tests.support.store_leader import LeaderProcess
from tests.support.waiting import until
from tests.support.zookeeper import Ensemble

SESSION = 4.0  # seconds
REFUSED = {"LostLeadError", "ZookeeperUnavailableError", "UnsureError"}


@dataclass
class Network:
    """A leader and a metaserver on one side, ZooKeeper and another metaserver on the other."""

    split: SplitNetwork
    leader: LeaderProcess
    metaservers: dict[str, Metaserver]

    def ask(self, side: str, method: str, path: str, body: Any = None) -> Any:
        """Ask the metaserver of a side, from there."""
        api: Api = self.metaservers[side].api()
        return self.split.inside(side, lambda: api(method, path, body))

    def add_token(self, side: str, name: str) -> Any:
        """Change something, with the metaserver of that side."""
        return self.ask(side, "POST", "/v1/tokens", {"name": name, "role": "read"})

    def names(self, side: str) -> set[str]:
        """Return the names of the tokens, as the metaserver of that side knows them."""
        return {each["name"] for each in self.ask(side, "GET", "/v1/tokens").json["tokens"]}

    def leads(self, side: str) -> Any:
        """Return who leads, as the metaserver of that side knows it."""
        return self.ask(side, "GET", "/v1/metaservers").json["leader"]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    needs_namespaces()
    with split_network(tmp_path) as split, ExitStack() as running:
        ensemble = Ensemble(tmp_path / "ensemble", 3, host=MAJORITY)
        running.callback(ensemble.stop)
        split.inside(MAJORITY, ensemble.start)
        where = (ensemble.hosts, "/cut")
        leader = split.inside(MINORITY, lambda: LeaderProcess(SESSION, "zookeeper", *where))
        running.callback(leader.communicate)
        running.callback(leader.kill)
        assert leader.answer().startswith("leads")
        metaservers = {}
        for side in (MAJORITY, MINORITY):
            store = ("--zookeeper", "".join(where), "--session-timeout", str(SESSION))
            metaserver = Metaserver(tmp_path, store=store, host=side)
            running.callback(metaserver.stop)
            split.inside(side, metaserver.start)
            metaservers[side] = metaserver
        yield Network(split, leader, metaservers)


def test_what_it_writes_late_is_refused(network: Network) -> None:
    assert network.leader.write("in time") == "written"
    assert network.add_token(MINORITY, "before").status == 201
    before = network.leads(MAJORITY)

    network.split.pull()
    began = time.monotonic()
    network.leader.tell("late")
    until(lambda: (network.leads(MAJORITY) or before)["epoch"] > before["epoch"])
    sys.stderr.write(f"\ncut off: another leads after {time.monotonic() - began:.2f} s\n")
    assert network.leader.answer() in REFUSED
    assert network.leader.write("later") in REFUSED
    refused = network.add_token(MINORITY, "late")
    assert (refused.status, "ZooKeeper" in refused.json["detail"]) == (503, True)
    assert network.names(MINORITY) >= {"before"}  # reads go on
    assert network.add_token(MAJORITY, "meanwhile").status == 201

    network.split.pull(plugged=True)
    until(lambda: network.leader.write("at last") == "LostLeadError")
    until(lambda: network.names(MINORITY) >= {"before", "meanwhile"})
    until(lambda: network.add_token(MINORITY, "after").status == 201)
    until(lambda: network.names(MAJORITY) >= {"before", "meanwhile", "after"})
    assert "late" not in network.names(MAJORITY)
    events = network.ask(MAJORITY, "GET", "/v1/events").json["events"]
    logged = {each["action"] for each in events}
    assert "in time" in logged
    assert not {"late", "later", "at last"} & logged
