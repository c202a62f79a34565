"""Reads a deployment in ZooKeeper: the addresses of its metaservers, and the document of a pool.

A reader only reads. What it has read stays valid until ZooKeeper reports a change, or the session
is another one, so that a client that has nothing to learn sends nothing. No call waits longer than
a bound: kazoo itself would queue calls for as long as there is no connection.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from cachemesh.core.errors import (
    CacheMeshError,
    ConfigurationError,
    InvalidDocumentError,
    MetaserverUnavailableError,
    PoolNotFoundError,
)
from cachemesh.core.json_text import NotJsonError, decode_json
from cachemesh.core.names import parse_address
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery import zookeeper_layout as layout
from cachemesh.discovery.wakeup import StopEvent
from cachemesh.discovery.zookeeper_login import NotingLogger, login_arguments

_BOUND = 3.0  # seconds for a connection, and for each answer
_SESSION_SECONDS = 6.0
_AUTH_FAILED = "AUTH_FAILED"  # kazoo's KeeperState, which is a text
_SLICE = 0.1  # seconds in which a thread that waits looks whether it is to stop


@dataclass(frozen=True)
class ZookeeperAccess:
    """Where a deployment is in ZooKeeper, and how to log in there.

    Attributes:
        hosts: ``host:port,...`` of the servers.
        chroot: the path below which the deployment is.
        auth: ``user:password`` of a login, None without one.
        sasl: whether to log in by SASL; else by ZooKeeper's scheme ``digest``.
        tls: kazoo's options of TLS, empty without.
    """

    hosts: str
    chroot: str
    auth: str | None = field(default=None, repr=False)
    sasl: bool = False
    tls: tuple[tuple[str, Any], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f"ZooKeeper {self.hosts}{self.chroot}"


class ZookeeperReader:
    """Reads one deployment. For one thread, but for `wait`'s event and `close`.

    The first call connects. A session that is lost is replaced by kazoo.

    Args:
        access: where, and how to log in.
    """

    def __init__(self, access: ZookeeperAccess) -> None:
        self._access = access
        self._zk: Any = None
        self._log = NotingLogger("cachemesh.zookeeper")
        self._changed = threading.Event()
        self._login_failed = False
        self._addresses: tuple[str, ...] | None = None  # None: to be read

    def metaservers(self) -> tuple[str, ...]:
        """Return the addresses of the live metaservers, sorted; none if none is registered.

        Raises:
            MetaserverUnavailableError: ZooKeeper does not answer.
            CacheMeshError: nothing of CacheMesh is there, or access is refused.
        """
        if self._addresses is None:
            names = self._call("get_children", layout.METASERVERS)
            if names is None:
                raise CacheMeshError(
                    f"{self._access}: no deployment is there; check the path in the URL, which is "
                    "that of the metaservers' option --zookeeper, with the pool's name at its end"
                )
            found = [self._call("get", f"{layout.METASERVERS}/{name}") for name in names]
            self._addresses = tuple(sorted(a for a in map(_address, found) if a is not None))
        return self._addresses

    def document(self, pool: str) -> PoolDocument:
        """Return the document of a pool; from now on, a change of it ends `wait`.

        Raises:
            PoolNotFoundError: there is no such pool.
            InvalidDocumentError: the znode holds something else.
            MetaserverUnavailableError: ZooKeeper does not answer.
        """
        path = layout.pool_path(pool)
        answer = self._call("get", path)
        try:
            text = None if answer is None else _document_text(decode_json(answer[0]))
            document = None if text is None else PoolDocument.from_json(text)
        except (NotJsonError, InvalidDocumentError) as error:
            raise InvalidDocumentError(f"{self._access}: {path} is not a pool: {error}") from error
        if document is None:
            raise PoolNotFoundError(f"No pool {pool!r} in {self._access}; see: cachemesh pool list")
        if document.pool != pool:
            raise InvalidDocumentError(f"{self._access}: {path} holds pool {document.pool!r}")
        return document

    def wait(self, seconds: float, stop: StopEvent) -> None:
        """Wait until something that was read may have changed, at most so many seconds."""
        deadline = time.monotonic() + seconds
        while not stop.is_set() and time.monotonic() < deadline:
            if self._changed.wait(_SLICE):
                return

    def close(self) -> None:
        """End the session, without waiting for that."""
        zk, self._zk = self._zk, None
        if zk is not None:
            threading.Thread(target=_end, args=(zk,), name="cachemesh-zk-end", daemon=True).start()

    def _call(self, method: str, path: str) -> Any:
        """Return the answer to a read of a path, which is watched; None if it is not there."""
        from kazoo import exceptions

        zk = self._connected()
        self._changed.clear()
        try:
            return getattr(zk, f"{method}_async")(path, watch=self._seen).get(timeout=_BOUND)
        except exceptions.NoNodeError:
            return None
        except (exceptions.NoAuthError, exceptions.AuthFailedError) as error:
            raise self._refused() from error
        except (exceptions.KazooException, zk.handler.timeout_exception) as error:
            raise self._gone(type(error).__name__) from error

    def _connected(self) -> Any:
        """Return the client of kazoo, connected."""
        zk = self._zk
        if zk is None:
            zk = self._zk = self._started()
        deadline = time.monotonic() + _BOUND
        while not zk.connected:
            if self._zk is not zk:
                raise self._gone("it was left by another thread")
            if self._login_failed:
                self.close()  # kazoo gives up; the next call begins anew
                raise self._refused()
            if time.monotonic() > deadline:
                raise self._gone(f"no connection{self._log.reason()}")
            time.sleep(0.01)
        return zk

    def _refused(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self._access}: access is refused; check the options zookeeper_auth_file and "
            "zookeeper_auth_scheme"
        )

    def _started(self) -> Any:
        from kazoo.client import KazooClient
        from kazoo.retry import KazooRetry

        zk = KazooClient(
            hosts=f"{self._access.hosts}{self._access.chroot}",
            timeout=_SESSION_SECONDS,
            connection_retry=KazooRetry(max_tries=-1, delay=0.1, max_delay=2.0),
            logger=self._log,
            **login_arguments(self._access.auth, sasl=self._access.sasl),
            **dict(self._access.tls),
        )
        self._login_failed = False

        def seen(state: str) -> None:
            # Now: kazoo goes on to close, after which it says no more why.
            self._login_failed = self._login_failed or zk.client_state == _AUTH_FAILED
            self._seen(state)

        zk.add_listener(seen)
        zk.start_async()
        return zk

    def _seen(self, _event: object) -> None:
        self._addresses = None
        self._changed.set()

    def _gone(self, reason: str) -> MetaserverUnavailableError:
        return MetaserverUnavailableError(
            f"{self._access} does not answer ({reason}); do most of its servers run, and are the "
            "addresses right?"
        )


def _end(zk: Any) -> None:
    zk.stop()
    zk.close()


def _address(answer: Any) -> str | None:
    """Return the address in a metaserver's znode; None if that is gone, or holds something else."""
    try:
        address = None if answer is None else json.loads(answer[0])["address"]
        parse_address(str(address).rpartition("//")[2])
    except (ValueError, TypeError, KeyError):
        return None
    return str(address)


def _document_text(rows: Any) -> str | None:
    """Return the document in the rows of a pool's znode; None of a pool that was deleted."""
    try:
        text = rows[0]["document"] if rows else None
    except (TypeError, KeyError, IndexError) as error:
        raise InvalidDocumentError("it has no row with a document") from error
    if text is not None and not isinstance(text, str):
        raise InvalidDocumentError("its document is no text")
    return text
