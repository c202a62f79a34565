"""All metaservers and ZooKeepers are gone for a time: no app notices, and apps can be started.

They are gone for a few seconds by default, for longer with CHAOS_OUTAGE=60.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.failover import faults
from benchmarks.failover.site import Site, site
from cachemesh import CacheMesh
from tests.support.both_clients import CLIENTS
from tests.support.client_load import ClientLoad, under_load
from tests.support.metaserver_process import environment
from tests.support.waiting import AT_MOST, in_time, until
from tests.support.zookeeper import Ensemble

SECONDS = float(os.environ.get("CHAOS_OUTAGE", "3"))
_WRITES = 20  # of each writer, before anything else happens
_STARTS_IN = 1.0  # seconds


def test_apps_go_on_and_can_be_started(ensemble: Ensemble, tmp_path: Path) -> None:
    where = f"{ensemble.hosts}/lost"
    with site(2, replicas=1, metaservers=2, zookeeper=where, timeout=AT_MOST) as here:
        shard = here.shards[0]
        version = leave_snapshot(here, tmp_path)
        with under_load(here, hit=shard) as running:
            with without_control_plane(here, ensemble):
                running.await_writes(each=_WRITES)
                for kind in CLIENTS:
                    start_app(here, kind, tmp_path)
                nothing_failed(running)
                faults.sentinel_failover(here, shard)
                running.await_writes()
            settings = {"settings": {"poll_interval": 2.0}}
            put = here.api().request("PATCH", "/v1/pools/cache/settings", settings)
            assert put["version_before"] == version
            running.await_writes()
            made = sum(len(writer.acknowledged) for writer in running.writers)
            failed = sum(len(writer.failures) for writer in running.writers)
        sys.stderr.write(f"{made} writes acknowledged, {failed} calls failed\n")


def leave_snapshot(here: Site, directory: Path) -> int:
    """Run an app that stores a value; return the version that it acted on."""
    with CacheMesh.from_url(here.url, **here.credentials, snapshot_dir=str(directory)) as mesh:
        mesh.set("stored", "before")
        until(lambda: list(directory.glob("*.json")))
        topology = mesh.health().topology
        assert topology is not None
        return topology.version


@contextmanager
def without_control_plane(here: Site, ensemble: Ensemble) -> Iterator[None]:
    """Kill all metaservers and ZooKeepers for the block, and for SECONDS at least."""
    metaservers = [here.stack.process(address) for address in here.stack.info["metaservers"]]
    began = time.monotonic()
    for metaserver in metaservers:
        metaserver.kill()
    ensemble.stop()
    yield
    until(lambda: time.monotonic() - began >= SECONDS, SECONDS + AT_MOST)
    sys.stderr.write(f"\nnobody was there for {time.monotonic() - began:.1f} s\n")
    ensemble.start()
    for metaserver in metaservers:
        metaserver.restart(AT_MOST)


def start_app(here: Site, kind: str, snapshots: Path) -> None:
    """Start an app in a process of its own, which has to serve from its snapshot."""
    words = (kind, here.url, here.stack.info["token_file"], str(snapshots), "stored")
    command = [sys.executable, "-m", "tests.support.late_app", *words]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    sys.stderr.write(f"\n{kind}: {found}")
    assert (found["value"], found["source"]) == ("before", "snapshot")
    in_time(found["seconds"], _STARTS_IN)


def nothing_failed(running: ClientLoad) -> None:
    """Assert that no call of any app has failed so far, on a machine that did not stand still."""
    failures = [each.what for writer in running.writers for each in writer.failures]
    assert running.stood_still or failures == []
