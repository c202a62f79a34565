"""`LocalStack`: a whole CacheMesh on this machine, as a context manager."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cachemesh.core.errors import LocalStackError
from cachemesh.core.names import check_name
from cachemesh.discovery.bearer_token import read_token
from cachemesh.local.builder import Progress, StackBuilder

from .options import StackOptions
from .process import Process

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


class LocalStack:
    """Real Redis, Sentinel, metaserver and dashboard processes on free ports of 127.0.0.1.

    All of them end when the process that made the stack ends, however it ends.

    Args:
        shards: masters in the pool, named POOL-0, POOL-1, ...
        replicas: replicas of each master.
        sentinels: Sentinels; the quorum is a majority of them.
        metaservers: metaserver processes on one SQLite file. With 0 the shards are registered with
            the Sentinels directly, for clients that know Sentinel alone; no dashboard then.
        dashboard: whether to start the dashboard.
        zookeeper: whether to start a ZooKeeper for the metaservers; or one that runs already, as
            "HOST:PORT,.../CHROOT".
        tls: whether all servers but ZooKeeper speak TLS alone, with certificates made for it.
        spares: further masters with replicas outside the pool, to add to it.
        pool: the pool's name.
        directory: where state and logs live; None: a temporary directory, removed on stop.
        down_after_ms: milliseconds without an answer after which Sentinel counts a master as down.
        port: the first metaserver's port; None: a free one.
        dashboard_port: the dashboard's port; None: a free one.
        timeout: seconds that each step of the start may take, and a quarter more for each instance.
        maxmemory: MiB of data that each instance may hold, after which it evicts the keys that were
            used least recently; 0 for no bound.

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
        zookeeper: bool | str = False,
        tls: bool = False,
        spares: int = 0,
        pool: str = "cache",
        directory: Path | None = None,
        down_after_ms: int = 1000,
        port: int | None = None,
        dashboard_port: int | None = None,
        timeout: float = 120.0,
        maxmemory: int = 0,
    ) -> None:
        options = StackOptions(
            shards=shards,
            replicas=replicas,
            sentinels=sentinels,
            metaservers=metaservers,
            dashboard=dashboard,
            zookeeper=zookeeper,
            tls=tls,
            spares=spares,
            pool=pool,
            directory=directory,
            down_after_ms=down_after_ms,
            port=port,
            dashboard_port=dashboard_port,
            timeout=timeout,
            maxmemory=maxmemory,
        )
        self._set_up(options)

    @classmethod
    def of(cls, options: StackOptions) -> Self:
        """Make a stack of checked options."""
        stack = cls.__new__(cls)
        stack._set_up(options)
        return stack

    def _set_up(self, options: StackOptions) -> None:
        self._options = options
        self._lock = threading.RLock()
        self._builder: StackBuilder | None = None

    def start(self, progress: Progress | None = None, takes_sigterm: bool = False) -> None:
        """Start all processes and wait until the pool works; on failure stop them all again.

        Args:
            progress: takes a line about each step.
            takes_sigterm: whether this process stops the stack when it gets SIGTERM, so that
                `cachemesh down` may send it one; else `down` ends the stack's reaper process.

        Raises:
            LocalStackError: names the process that failed and shows the end of its log.
        """
        with self._lock:
            if self._builder is not None:
                raise LocalStackError("this stack is running already")
            self._builder = StackBuilder(self._options, progress or _silent, takes_sigterm)
            try:
                self._builder.build()
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Stop every process and wait until all have ended; a second call does nothing."""
        with self._lock:
            if self._builder is not None:
                self._builder.stop()
                self._builder = None

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
        """The object that `cachemesh up -o json` prints: addresses, token file, environment."""
        return self._started.info

    @property
    def token(self) -> str:
        """The metaserver's admin token. Raises LocalStackError without a metaserver."""
        token = read_token(None, self.info["token_file"])
        if token is None:
            raise LocalStackError("this stack has no metaserver, so it has no token")
        return token

    @property
    def directory(self) -> Path:
        """The directory with the stack's state and logs."""
        return self._started.directory.path

    @property
    def processes(self) -> tuple[Process, ...]:
        """Every process of the stack, ended ones included."""
        return self._started.launcher.processes

    def process(self, address: str) -> Process:
        """Return the process at "host:port", or that of this name. Raises LocalStackError."""
        return self._started.launcher.find(address)

    def master_of(self, shard: str) -> str:
        """Return the "host:port" that Sentinel names as master now. Raises LocalStackError."""
        return str(self._started.sentinels.master_of(shard))

    def start_redis(self, port: int | None = None, *extra_config: str) -> Process:
        """Start one more redis-server, alone.

        Args:
            port: to listen on; None: a free one.
            extra_config: further lines of its configuration file.

        Raises:
            LocalStackError: the server did not start.
        """
        process = self._started.start_redis(port, extra_config)
        self._started.save("up")
        return process

    def start_sentinel(self) -> Process:
        """Start one more Sentinel, which monitors nothing, and is none of the pool's.

        Raises:
            LocalStackError: the Sentinel did not start.
        """
        process = self._started.start_sentinel()
        self._started.save("up")
        return process

    def start_pair(self, name: str, replicas: int = 1) -> dict[str, Any]:
        """Start a master with replicas outside the pool, to add to it.

        Returns:
            Its "name", and its "master" and "replicas" as "host:port".

        Raises:
            LocalStackError: an instance did not start.
            InvalidDocumentError: the name is not valid.
        """
        pair = self._started.start_shards([check_name("shard", name)], replicas)[0]
        self._started.save("up")
        return pair

    def alive(self) -> bool:
        """Return whether the stack is up: its reaper runs, so its processes can be controlled."""
        return self._builder is not None and self._builder.reaper.running()

    @property
    def _started(self) -> StackBuilder:
        if self._builder is None:
            raise LocalStackError("this stack is not running; start() it first")
        return self._builder


def _silent(line: str) -> None:
    """Drop a line of progress."""
