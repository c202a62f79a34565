"""Putting a local stack together, step by step, and taking it apart."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cachemesh.core.errors import LocalStackError, MetaserverError, MetaserverUnavailableError
from cachemesh.core.names import Address, parse_address
from cachemesh.core.words import counted
from cachemesh.discovery.metaserver import MetaserverClient, read_token
from cachemesh.local.binaries import RedisServer, find_redis_server
from cachemesh.local.launcher import Launcher
from cachemesh.local.memory import check_enough
from cachemesh.local.options import StackOptions
from cachemesh.local.pids import ProcessId
from cachemesh.local.ports import Ports
from cachemesh.local.process import Keeper, Process
from cachemesh.local.sentinels import Monitored, Monitoring
from cachemesh.local.state import StateDirectory

_STOP_WITHIN = 5.0  # seconds that processes have to end after SIGTERM
Progress = Callable[[str], None]


class Assembly:
    """The processes of one stack while it is up; made by `LocalStack`."""

    def __init__(self, options: StackOptions, progress: Progress, takes_sigterm: bool) -> None:
        """Lock the directory and start the keeper. Raises LocalStackError."""
        check_enough(options.instances)
        self._options = options
        self._progress = progress
        self._owner = ProcessId.of(os.getpid()) if takes_sigterm else None
        self._loose = itertools.count(1)
        self.server: RedisServer = find_redis_server()
        self.info: dict[str, Any] = {}
        self.monitoring = Monitoring([], options.down_after_ms)
        place = options.directory or Path(tempfile.mkdtemp(prefix="cachemesh-"))
        temporary = place if options.directory is None else None
        self.directory = StateDirectory(place)
        self.directory.acquire()
        try:
            ports = Ports()
            ports.claim(options.port, "metaserver", "--port")
            ports.claim(options.dashboard_port, "dashboard", "--dashboard-port")
            self.keeper = Keeper(remove=temporary, holds=[self.directory.lock_descriptor])
        except BaseException:
            if temporary is not None:
                shutil.rmtree(temporary)
            raise
        finally:
            self.directory.release()  # from here on the keeper alone holds it, to its end
        self.launcher = Launcher(self.directory, self.keeper, ports)

    def build(self) -> None:
        """Start everything and wait until it works. Raises LocalStackError; stop() cleans up."""
        options, launch = self._options, self.launcher
        self._describe()
        first = self._start_metaserver(1) if options.metaservers else []
        zookeeper = [launch.start(launch.zookeeper())] if options.zookeeper else []
        names = [f"sentinel-{number}" for number in range(1, options.sentinels + 1)]
        sentinels = [launch.start(launch.sentinel(self.server, name)) for name in names]
        self._progress(
            f"starting {counted(options.shards + options.spares, 'master')}, "
            f"{counted(options.replicas, 'replica')} each, "
            f"{counted(options.sentinels, 'Sentinel')} ({self.server})"
        )
        pairs = self.start_shards([*options.shard_names, *options.spare_names], options.replicas)
        sentinels = launch.settle(sentinels, options.patience)
        self.monitoring = Monitoring([s.address for s in sentinels], options.down_after_ms)
        self.info |= {"shards": pairs[: options.shards], "spares": pairs[options.shards :]}
        metaservers = self._start_metaservers(first)
        dashboard = self._start_dashboard(metaservers)
        self._describe(metaservers)
        self._make_pool()
        for process in launch.settle([*dashboard, *zookeeper], options.patience):
            address = str(process.address)
            self.info[process.kind] = (
                f"http://{address}" if process.kind == "dashboard" else address
            )
        self.save("up")

    def start_shards(self, names: Sequence[str], replicas: int) -> list[dict[str, Any]]:
        """Masters with attached replicas, known to no Sentinel yet. Raises LocalStackError."""
        launch, timeout = self.launcher, self._options.patience
        masters = launch.settle(
            [launch.start(launch.redis(self.server, f"{name}.1")) for name in names], timeout
        )
        started = [
            launch.start(launch.redis(self.server, f"{name}.{number}", replica_of=master.address))
            for name, master in zip(names, masters, strict=True)
            for number in range(2, replicas + 2)
        ]
        addresses = [str(replica.address) for replica in launch.settle(started, timeout)]
        return [
            {
                "name": name,
                "master": str(master.address),
                "replicas": addresses[replicas * index : replicas * (index + 1)],
            }
            for index, (name, master) in enumerate(zip(names, masters, strict=True))
        ]

    def start_redis(self, port: int | None, extra: Sequence[str]) -> Process:
        """One redis-server alone. Raises LocalStackError."""
        name = f"redis-{next(self._loose)}"
        recipe = self.launcher.redis(self.server, name, port=port, extra=extra)
        return self.launcher.settle([self.launcher.start(recipe)], self._options.patience)[0]

    def _start_metaserver(self, number: int) -> list[Process]:
        port = self._options.port if number == 1 else None
        recipe = self.launcher.metaserver(f"metaserver-{number}", port)
        return [self.launcher.start(recipe)]

    def _start_metaservers(self, first: list[Process]) -> list[Address]:
        """Wait for the first, which makes the store and the token; then start the others."""
        started = self.launcher.settle(first, self._options.patience)
        others = [
            process
            for number in range(2, self._options.metaservers + 1)
            for process in self._start_metaserver(number)
        ]
        started += self.launcher.settle(others, self._options.patience)
        return [process.address for process in started]

    def _start_dashboard(self, metaservers: Sequence[Address]) -> list[Process]:
        if not self._options.dashboard or not metaservers:
            return []
        self._progress("starting the dashboard")
        recipe = self.launcher.dashboard(metaservers, self._options.dashboard_port)
        return [self.launcher.start(recipe)]

    def _describe(self, metaservers: Sequence[Address] = ()) -> None:
        """Fill in what is known by now, and save it so that `down` finds the processes."""
        pool, sentinels = self._options.pool, [str(at) for at in self.monitoring.sentinels]
        servers = [str(at) for at in metaservers]
        token_file = str(self.directory.token_file) if servers else None
        scheme = "cachemesh" if servers else "cachemesh+sentinel"
        url = f"{scheme}://{','.join(servers or sentinels)}/{pool}"
        env = {"CACHEMESH_URL": url}
        if token_file is not None:
            env["CACHEMESH_TOKEN_FILE"] = token_file
        self.info = {
            "pool": pool,
            "url": url,
            "token_file": token_file,
            "metaservers": servers,
            "sentinels": sentinels,
            "zookeeper": None,
            "dashboard": None,
            "dir": str(self.directory.path),
            "shards": self.info.get("shards", []),
            "spares": self.info.get("spares", []),
            "env": env,
        }
        self.save("starting")

    def _make_pool(self) -> None:
        """Have the Sentinels monitor the shards: through the metaserver, or directly."""
        timeout = self._options.patience
        shards: list[dict[str, Any]] = self.info["shards"]
        monitored = [
            Monitored(shard["name"], parse_address(shard["master"]), len(shard["replicas"]))
            for shard in shards
        ]
        self._progress(f"creating pool {self._options.pool!r} of {counted(len(shards), 'shard')}")
        if self.info["metaservers"]:
            self._create_pool(shards)
        else:
            self.monitoring.monitor(monitored)
        self.monitoring.tune([shard.name for shard in monitored])
        self.monitoring.introduce(monitored)
        self._progress("waiting until each Sentinel sees every replica and the other Sentinels")
        self.monitoring.await_complete(monitored, timeout)

    def _create_pool(self, shards: Sequence[dict[str, Any]]) -> None:
        token = read_token(None, self.info["token_file"])
        client = MetaserverClient(self.info["metaservers"], token)
        body = {
            "pool": self._options.pool,
            "sentinels": self.info["sentinels"],
            "shards": [{"name": shard["name"], "master": shard["master"]} for shard in shards],
        }
        try:
            client.request("POST", "/v1/pools", body, timeout=self._options.patience)
        except (MetaserverError, MetaserverUnavailableError) as error:
            log = self.launcher.find("metaserver-1")
            raise LocalStackError(
                f"the metaserver did not create the pool: {error}; "
                f"see its log {log.log}:\n{log.last_lines()}"
            ) from error

    def save(self, state: str) -> None:
        """Write stack.json; the processes are listed so that `down` and `status` know them."""
        owners = {"owner": self._owner, "keeper": self.keeper.id}
        known = {
            name: {"pid": owner.pid, "started": owner.started}
            for name, owner in owners.items()
            if owner is not None
        }
        processes = [
            {
                "name": process.name,
                "kind": process.kind,
                "address": str(process.address),
                "pid": process.pid,
                "started": process.started,
                "log": str(process.log),
                "argv": process.argv,
            }
            for process in self.launcher.processes
        ]
        self.directory.write({"state": state, "info": self.info, **known, "processes": processes})

    def stop(self) -> None:
        """Ask every process to end, then make it; nothing is left when this returns."""
        try:
            with contextlib.suppress(LocalStackError):  # the keeper is gone: so are they
                self._ask_to_end()
            if self._is_ours(self.directory.read()):
                self.directory.forget()
        finally:
            self.keeper.close()

    def _is_ours(self, saved: dict[str, Any] | None) -> bool:
        """Whether stack.json is still about this stack: its keeper may have been killed since."""
        ours = self.keeper.id
        return bool(
            saved and ours and saved["keeper"] == {"pid": ours.pid, "started": ours.started}
        )

    def _ask_to_end(self) -> None:
        for process in self.launcher.processes:
            process.resume()
            process.kill(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_WITHIN
        for process in self.launcher.processes:
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
