"""Builds a local stack step by step, describes it in stack.json, and ends its processes."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cachemesh.core.errors import LocalStackError, MetaserverError, MetaserverUnavailableError
from cachemesh.core.names import Address, parse_address
from cachemesh.core.plurals import counted
from cachemesh.discovery.bearer_token import read_token
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local.binaries import RedisServer, find_redis_server
from cachemesh.local.launcher import Launcher
from cachemesh.local.memory import check_enough
from cachemesh.local.options import StackOptions
from cachemesh.local.pids import ProcessId
from cachemesh.local.ports import Ports
from cachemesh.local.process import Process
from cachemesh.local.reaper_client import ReaperClient
from cachemesh.local.recipes import Recipes
from cachemesh.local.sentinels import ShardToMonitor, StackSentinels
from cachemesh.local.state import StateDirectory
from cachemesh.local.tls import StackTls, issue_for, metaserver_tls_of

_STOP_WITHIN = 5.0  # seconds that processes have to end after SIGTERM
Progress = Callable[[str], None]


class StackBuilder:
    """Builds the stack of one `LocalStack`, holds its processes while it is up, and stops them.

    Making one locks the state directory and starts the reaper.

    Args:
        options: what the stack is made of.
        progress: takes a line about each step.
        takes_sigterm: whether this process stops the stack on SIGTERM, so that `cachemesh down`
            may send it one.

    Raises:
        LocalStackError: no redis-server, no memory, no directory, or a port that is taken.
    """

    def __init__(self, options: StackOptions, progress: Progress, takes_sigterm: bool) -> None:
        check_enough(options.instances)
        self._options = options
        self._progress = progress
        self._owner = ProcessId.of(os.getpid()) if takes_sigterm else None
        self._extra_numbers = itertools.count(1)
        self.server: RedisServer = find_redis_server()
        self.info: dict[str, Any] = {}
        self.sentinels = StackSentinels([], options.down_after_ms)
        place = options.directory or Path(tempfile.mkdtemp(prefix="cachemesh-"))
        temporary = place if options.directory is None else None
        self.directory = StateDirectory(place)
        self.directory.acquire()
        try:
            ports = Ports()
            ports.claim(options.port, "metaserver", "--port")
            ports.claim(options.dashboard_port, "dashboard", "--dashboard-port")
            self.reaper = ReaperClient(remove=temporary, holds=[self.directory.lock_descriptor])
        except BaseException:
            if temporary is not None:
                shutil.rmtree(temporary)
            raise
        finally:
            self.directory.release()  # from here on the reaper alone holds the lock, until it ends
        self._zookeeper = options.zookeeper if isinstance(options.zookeeper, str) else None
        self.tls: StackTls | None = None
        self.recipes = Recipes(self.directory)
        self.launcher = Launcher(self.directory, self.reaper, ports)

    def build(self) -> None:
        """Start all processes, make the pool, and wait until everything works.

        Raises:
            LocalStackError: a step failed; call `stop` to end what was started.
        """
        options, launch = self._options, self.launcher
        if options.tls:
            self.tls = issue_for(self.directory / "tls", self.server)
            self.recipes = Recipes(self.directory, self.tls)
        recipes = self.recipes
        self._describe()
        zookeeper = [launch.start(recipes.zookeeper())] if options.zookeeper is True else []
        # With no ZooKeeper to wait for, the first metaserver may begin at once.
        first = self._start_metaserver(1) if options.metaservers and not zookeeper else []
        names = [f"sentinel-{number}" for number in range(1, options.sentinels + 1)]
        sentinels = [launch.start(recipes.sentinel(self.server, name)) for name in names]
        self._progress(
            f"starting {counted(options.shards + options.spares, 'master')}, "
            f"{counted(options.replicas, 'replica')} each, "
            f"{counted(options.sentinels, 'Sentinel')} ({self.server})"
        )
        pairs = self.start_shards([*options.shard_names, *options.spare_names], options.replicas)
        sentinels = launch.await_ready(sentinels, options.step_timeout)
        addresses = [process.address for process in sentinels]
        self.sentinels = StackSentinels(addresses, options.down_after_ms, self.tls)
        self.info |= {"shards": pairs[: options.shards], "spares": pairs[options.shards :]}
        for process in launch.await_ready(zookeeper, options.step_timeout):
            self._zookeeper = str(process.address)
        if zookeeper and options.metaservers:
            first = self._start_metaserver(1)
        metaservers = self._start_metaservers(first)
        dashboard = self._start_dashboard(metaservers)
        self._describe(metaservers)
        self._make_pool()
        for process in launch.await_ready(dashboard, options.step_timeout):
            self.info["dashboard"] = f"{self._scheme}://{process.address}"
        self.save("up")

    def start_shards(self, names: Sequence[str], replicas: int) -> list[dict[str, Any]]:
        """Start masters with attached replicas, which no Sentinel monitors yet.

        Args:
            names: of the shards.
            replicas: how many each master gets.

        Returns:
            For each shard its "name", and its "master" and "replicas" as "host:port".

        Raises:
            LocalStackError: an instance did not start.
        """
        launch, timeout = self.launcher, self._options.step_timeout
        redis = partial(self.recipes.redis, self.server, extra=self._options.redis_lines)
        masters = launch.await_ready([launch.start(redis(f"{name}.1")) for name in names], timeout)
        started = [
            launch.start(redis(f"{name}.{number}", replica_of=master.address))
            for name, master in zip(names, masters, strict=True)
            for number in range(2, replicas + 2)
        ]
        addresses = [str(replica.address) for replica in launch.await_ready(started, timeout)]
        return [
            {
                "name": name,
                "master": str(master.address),
                "replicas": addresses[replicas * index : replicas * (index + 1)],
            }
            for index, (name, master) in enumerate(zip(names, masters, strict=True))
        ]

    def start_redis(self, port: int | None, extra: Sequence[str]) -> Process:
        """Start one more redis-server, alone.

        Args:
            port: to listen on; None: any free one.
            extra: further lines of its configuration file.

        Raises:
            LocalStackError: the server did not start.
        """
        name = f"redis-{next(self._extra_numbers)}"
        recipe = self.recipes.redis(self.server, name, port=port, extra=extra)
        return self.launcher.await_ready([self.launcher.start(recipe)], self._options.step_timeout)[
            0
        ]

    def start_sentinel(self) -> Process:
        """Start one more Sentinel, which monitors nothing.

        Raises:
            LocalStackError: the Sentinel did not start.
        """
        recipe = self.recipes.sentinel(self.server, f"extra-sentinel-{next(self._extra_numbers)}")
        return self.launcher.await_ready([self.launcher.start(recipe)], self._options.step_timeout)[
            0
        ]

    def _start_metaserver(self, number: int) -> list[Process]:
        port = self._options.port if number == 1 else None
        recipe = self.recipes.metaserver(f"metaserver-{number}", port, self._zookeeper)
        return [self.launcher.start(recipe)]

    def _start_metaservers(self, first: list[Process]) -> list[Address]:
        """Wait for the first metaserver, which makes the store and the token; start the others."""
        started = self.launcher.await_ready(first, self._options.step_timeout)
        others = [
            process
            for number in range(2, self._options.metaservers + 1)
            for process in self._start_metaserver(number)
        ]
        started += self.launcher.await_ready(others, self._options.step_timeout)
        return [process.address for process in started]

    def _start_dashboard(self, metaservers: Sequence[Address]) -> list[Process]:
        if not self._options.dashboard or not metaservers:
            return []
        self._progress("starting the dashboard")
        recipe = self.recipes.dashboard(metaservers, self._options.dashboard_port)
        return [self.launcher.start(recipe)]

    def _describe(self, metaservers: Sequence[Address] = ()) -> None:
        """Fill `info` with what is known by now and save it, so that `down` finds the processes."""
        pool, sentinels = self._options.pool, [str(at) for at in self.sentinels.addresses]
        servers = [str(at) for at in metaservers]
        token_file = str(self.directory.token_file) if servers else None
        scheme = "cachemesh" if servers else "cachemesh+sentinel"
        query = ""
        if self.tls is not None:
            scheme = "cachemeshs" if servers else scheme
            query = f"?{self.tls.query(metaservers=bool(servers))}"
        url = f"{scheme}://{','.join(servers or sentinels)}/{pool}{query}"
        env = {"CACHEMESH_URL": url}
        if token_file is not None:
            env["CACHEMESH_TOKEN_FILE"] = token_file
        self.info = {
            "pool": pool,
            "url": url,
            "token_file": token_file,
            "metaservers": servers,
            "sentinels": sentinels,
            "zookeeper": self._zookeeper,
            "dashboard": None,
            "tls": None if self.tls is None else str(self.tls.directory),
            "dir": str(self.directory.path),
            "shards": self.info.get("shards", []),
            "spares": self.info.get("spares", []),
            "env": env,
        }
        self.save("starting")

    @property
    def _scheme(self) -> str:
        return "http" if self.tls is None else "https"

    def _make_pool(self) -> None:
        """Have the Sentinels monitor the shards: through the metaserver, or directly."""
        timeout = self._options.step_timeout
        shards: list[dict[str, Any]] = self.info["shards"]
        monitored = [
            ShardToMonitor(shard["name"], parse_address(shard["master"]), len(shard["replicas"]))
            for shard in shards
        ]
        self._progress(f"creating pool {self._options.pool!r} of {counted(len(shards), 'shard')}")
        if self.info["metaservers"]:
            self._create_pool(shards)
        else:
            self.sentinels.monitor(monitored, timeout)
        self.sentinels.tune([shard.name for shard in monitored], timeout)
        self.sentinels.introduce(monitored, timeout)
        self._progress("waiting until each Sentinel sees every replica and the other Sentinels")
        self.sentinels.await_complete(monitored, timeout)

    def _create_pool(self, shards: Sequence[dict[str, Any]]) -> None:
        token = read_token(None, self.info["token_file"])
        servers = [f"{self._scheme}://{address}" for address in self.info["metaservers"]]
        client = MetaserverClient(servers, token, tls=metaserver_tls_of(self.tls))
        body = {
            "pool": self._options.pool,
            "sentinels": self.info["sentinels"],
            "shards": [{"name": shard["name"], "master": shard["master"]} for shard in shards],
        }
        try:
            client.request("POST", "/v1/pools", body, timeout=self._options.step_timeout)
        except (MetaserverError, MetaserverUnavailableError) as error:
            log = self.launcher.find("metaserver-1")
            raise LocalStackError(
                f"the metaserver did not create the pool: {error}; "
                f"see its log {log.log}:\n{log.last_lines()}"
            ) from error

    def save(self, state: str) -> None:
        """Write stack.json: `info`, and every process for `down` and `status`.

        Args:
            state: "starting" or "up".
        """
        owners = {"owner": self._owner, "reaper": self.reaper.id}
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
        """End every process, by SIGTERM and then by SIGKILL; none is left on return."""
        try:
            with contextlib.suppress(LocalStackError):  # without a reaper no process is left
                self._terminate_all()
            if self._describes_us(self.directory.read()):
                self.directory.forget()
        finally:
            self.reaper.close()

    def _describes_us(self, saved: dict[str, Any] | None) -> bool:
        """Return whether stack.json is about this stack.

        After its reaper was killed, another stack may have taken the directory.
        """
        ours = self.reaper.id
        return bool(
            saved and ours and saved.get("reaper") == {"pid": ours.pid, "started": ours.started}
        )

    def _terminate_all(self) -> None:
        for process in self.launcher.processes:
            process.resume()
            process.kill(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_WITHIN
        for process in self.launcher.processes:
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
