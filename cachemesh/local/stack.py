"""A whole CacheMesh on this machine: real Redis, Sentinel, metaserver and dashboard processes."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cachemesh.core.errors import LocalStackError
from cachemesh.core.names import check_name
from cachemesh.discovery.metaserver import read_token
from cachemesh.local.builder import Assembly, Progress

from .options import StackOptions
from .process import Process

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


class LocalStack:
    """Real processes on free ports of 127.0.0.1, gone when this process is gone.

    Args:
        shards: masters in the pool, named POOL-0, POOL-1, ...
        replicas: replicas of each master.
        sentinels: Sentinels; the quorum is a majority of them.
        metaservers: metaserver processes on one SQLite file. With 0 the shards are registered with
            the Sentinels directly, for clients that know Sentinel alone; no dashboard then.
        dashboard: whether to start the dashboard.
        zookeeper: whether to start a ZooKeeper beside the stack.
        spares: further masters with replicas outside the pool, to add to it.
        pool: the pool's name.
        directory: where state and logs live; None: a temporary one, removed on stop.
        down_after_ms: milliseconds without an answer after which Sentinel counts a master as down.
        port: the first metaserver's port; None: a free one.
        dashboard_port: likewise.
        timeout: seconds that each step of the start may take, and a quarter more for each instance.

    Raises:
        LocalStackError, InvalidDocumentError: an argument is out of bounds.
    """

    def __init__(
        self,
        shards: int = 3,
        replicas: int = 1,
        sentinels: int = 3,
        metaservers: int = 1,
        dashboard: bool = True,
        zookeeper: bool = False,
        spares: int = 0,
        pool: str = "cache",
        directory: Path | None = None,
        down_after_ms: int = 1000,
        port: int | None = None,
        dashboard_port: int | None = None,
        timeout: float = 30.0,
    ) -> None:
        options = StackOptions(
            shards=shards,
            replicas=replicas,
            sentinels=sentinels,
            metaservers=metaservers,
            dashboard=dashboard,
            zookeeper=zookeeper,
            spares=spares,
            pool=pool,
            directory=directory,
            down_after_ms=down_after_ms,
            port=port,
            dashboard_port=dashboard_port,
            timeout=timeout,
        )
        self._set_up(options)

    @classmethod
    def of(cls, options: StackOptions) -> Self:
        """A stack from checked options."""
        stack = cls.__new__(cls)
        stack._set_up(options)
        return stack

    def _set_up(self, options: StackOptions) -> None:
        self._options = options
        self._lock = threading.RLock()
        self._assembly: Assembly | None = None

    def start(self, progress: Progress | None = None, takes_sigterm: bool = False) -> None:
        """Start everything and wait until it works; on failure everything is stopped again.

        Args:
            progress: is told each step as a line.
            takes_sigterm: this process stops the stack when it gets SIGTERM, so `cachemesh down`
                may send it one; else `down` turns to the stack's keeper process.

        Raises:
            LocalStackError: names the process that failed and shows the end of its log.
        """
        with self._lock:
            if self._assembly is not None:
                raise LocalStackError("this stack is running already")
            self._assembly = Assembly(self._options, progress or _silent, takes_sigterm)
            try:
                self._assembly.build()
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Stop every process and wait until all are gone; a second call does nothing."""
        with self._lock:
            if self._assembly is not None:
                self._assembly.stop()
                self._assembly = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def info(self) -> dict[str, Any]:
        """What `cachemesh up -o json` prints: every address, the token file, the environment."""
        return self._up.info

    @property
    def token(self) -> str:
        """The metaserver's admin token. Raises LocalStackError without a metaserver."""
        token = read_token(None, self.info["token_file"])
        if token is None:
            raise LocalStackError("this stack has no metaserver, so it has no token")
        return token

    @property
    def directory(self) -> Path:
        return self._up.directory.path

    @property
    def processes(self) -> tuple[Process, ...]:
        return self._up.launcher.processes

    def process(self, address: str) -> Process:
        """The process at "host:port", or of that name. Raises LocalStackError."""
        return self._up.launcher.find(address)

    def master_of(self, shard: str) -> str:
        """The master's "host:port" as Sentinel says now. Raises LocalStackError."""
        return str(self._up.monitoring.master_of(shard))

    def start_redis(self, port: int | None = None, *extra_config: str) -> Process:
        """One more redis-server, alone; `extra_config` are lines of its configuration.

        Raises LocalStackError.
        """
        process = self._up.start_redis(port, extra_config)
        self._up.save("up")
        return process

    def start_pair(self, name: str, replicas: int = 1) -> dict[str, Any]:
        """A master with replicas outside the pool: {"name", "master", "replicas"}.

        Raises LocalStackError.
        """
        pair = self._up.start_shards([check_name("shard", name)], replicas)[0]
        self._up.save("up")
        return pair

    def alive(self) -> bool:
        """Whether the stack is up: its keeper runs, so its processes can be controlled."""
        return self._assembly is not None and self._assembly.keeper.running()

    @property
    def _up(self) -> Assembly:
        if self._assembly is None:
            raise LocalStackError("this stack is not running; start() it first")
        return self._assembly


def _silent(line: str) -> None:
    """Progress that nobody asked for."""
