"""The session with a ZooKeeper ensemble: no call waits longer than its bound.

kazoo queues calls while it is not connected, and would wait for ever. Here a call is refused at
once then, and after BOUND seconds whatever happens. A session that expired is replaced by kazoo.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import gevent.monkey
from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import (
    AuthFailedError,
    ConnectionClosedError,
    ConnectionLoss,
    KazooException,
    NoAuthError,
    NoNodeError,
    OperationTimeoutError,
    SessionExpiredError,
)
from kazoo.handlers.gevent import SequentialGeventHandler
from kazoo.handlers.threading import KazooTimeoutError, SequentialThreadingHandler
from kazoo.protocol.states import KeeperState
from kazoo.retry import KazooRetry
from kazoo.security import make_acl, make_digest_acl

from cachemesh.discovery.zookeeper_login import NotingLogger, login_arguments
from metaserver.process.config import ZookeeperOptions
from metaserver.store.errors import StorageError

BOUND = 4.0  # seconds that a call may wait
START = 10.0  # seconds for the first connection
_LOGIN_AGAIN = 1.0  # seconds after a login that was refused, or broken off

T = TypeVar("T")

_UNSURE = (ConnectionLoss, SessionExpiredError, OperationTimeoutError, ConnectionClosedError)
"""Whether the server has carried the call out is not known."""


class ZookeeperUnavailableError(StorageError):
    """The ensemble cannot be used now."""


class NoAnswerError(ZookeeperUnavailableError):
    """A call got no answer: it may have been carried out."""


class ZookeeperSession:
    """A session, which is replaced when it expires. Threads and greenlets may share it.

    Args:
        on_change: called after each change of `connected`, in a thread of kazoo; must not block.

    Raises:
        StorageError: the ensemble does not answer, or refuses the login.
    """

    def __init__(self, options: ZookeeperOptions, on_change: Callable[[], None]) -> None:
        self.options = options
        self.connected = False
        self.sessions = 0  # how many sessions there were so far
        self._on_change = on_change
        self._closed = threading.Event()
        self._log = NotingLogger("metaserver.zookeeper")
        self._zk = KazooClient(logger=self._log, **_arguments(options))
        self._zk.add_listener(self._changed)
        try:
            self._zk.start(START)
            self._make_chroot()
        except (KazooTimeoutError, self._zk.handler.timeout_exception, KazooException) as error:
            refused = self._zk.client_state == KeeperState.AUTH_FAILED
            self.close()
            raise self._translated(AuthFailedError() if refused else error) from error

    def _changed(self, state: str) -> None:
        if state == KazooState.CONNECTED:
            self.connected = True
        else:
            self.connected = False
            if state == KazooState.LOST:
                self.sessions += 1
                if self._zk.client_state == KeeperState.AUTH_FAILED:
                    threading.Thread(target=self._log_in_again, daemon=True).start()
        self._on_change()

    def _log_in_again(self) -> None:
        """Connect again: kazoo gives up when a server ends in the midst of a login by SASL."""
        if not self._closed.wait(_LOGIN_AGAIN):
            self._zk.start_async()

    def _make_chroot(self) -> None:
        path = self.options.chroot
        if path != "/":
            _result(self._zk.ensure_path_async(path), START)
        self._zk.chroot = "" if path == "/" else path

    def call(self, method: str, *args: Any, bound: float = BOUND, **options: Any) -> Any:
        """Call a method of kazoo's client, such as "get", and return its result.

        Raises:
            NoAnswerError: the call may have been carried out.
            StorageError: not connected, or not allowed.
            KazooException: what the server says, such as NoNodeError.
        """
        if not self.connected:
            raise self.unavailable("it is not connected")
        return self._waited(getattr(self._zk, f"{method}_async")(*args, **options), bound)

    def call_all(self, method: str, arguments: list[str]) -> list[Any]:
        """Call a method once for each argument, all under way at once.

        Returns:
            The results, None where there is no such node.
        """
        if not self.connected:
            raise self.unavailable("it is not connected")
        calls = [getattr(self._zk, f"{method}_async")(argument) for argument in arguments]
        results = []
        for each in calls:
            try:
                results.append(self._waited(each, BOUND))
            except NoNodeError:
                results.append(None)
        return results

    def transaction(self) -> Any:
        """Return an empty transaction, for `commit`."""
        return self._zk.transaction()

    def commit(self, transaction: Any) -> list[Any]:
        """Commit a transaction, and return a result, or an exception, for each operation.

        Raises:
            As `call`.
        """
        if not self.connected:
            raise self.unavailable("it is not connected")
        result: list[Any] = self._waited(transaction.commit_async(), BOUND)
        return result

    def _waited(self, result: Any, bound: float) -> Any:
        try:
            return _result(result, bound)
        except (*_UNSURE, KazooTimeoutError) as error:
            late = isinstance(error, KazooTimeoutError)
            why = str(error) if late else f"no answer ({type(error).__name__})"
            raise NoAnswerError(self._told(why)) from error
        except (NoAuthError, AuthFailedError) as error:
            raise self._translated(error) from error

    @property
    def id(self) -> int | None:
        """The number of the session, None without one."""
        client_id = self._zk.client_id
        return None if client_id is None else int(client_id[0])

    def close(self) -> None:
        """End the session. Idempotent."""
        self._closed.set()
        self._zk.stop()
        self._zk.close()

    def unavailable(self, reason: str) -> ZookeeperUnavailableError:
        """Return the error for a call that cannot be made now."""
        return ZookeeperUnavailableError(self._told(reason))

    def _told(self, reason: str) -> str:
        return (
            f"ZooKeeper {self.options}: {reason}; check that most of its servers run and can be "
            "reached from here, and try again"
        )

    def _translated(self, error: Exception) -> StorageError:
        if isinstance(error, (NoAuthError, AuthFailedError)):
            return StorageError(
                f"ZooKeeper {self.options}: access is refused; check the user and password of "
                "--zookeeper-auth-file, its scheme, and who has made the chroot"
            )
        return self.unavailable(f"no answer within {START:g} s{self._log.reason()}")


def _result(call: Any, bound: float) -> Any:
    """Return the result of a call of kazoo, whose own bound is no Exception where gevent runs.

    Raises:
        KazooTimeoutError: there is none after so many seconds.
        KazooException: what the call has come to.
    """
    call.wait(bound)
    if not call.ready():
        raise KazooTimeoutError(f"no answer within {bound:g} s")
    return call.get()


def _arguments(options: ZookeeperOptions) -> dict[str, Any]:
    """Return the arguments of kazoo's client."""
    green = gevent.monkey.is_module_patched("threading")
    arguments: dict[str, Any] = {
        "hosts": options.hosts,
        "timeout": options.session_timeout,
        "handler": SequentialGeventHandler() if green else SequentialThreadingHandler(),
        "connection_retry": KazooRetry(max_tries=-1, delay=0.05, max_delay=1.0),
    }
    arguments |= login_arguments(options.login, sasl=options.sasl)
    if options.login is not None:
        user, _, password = options.login.partition(":")
        only_user = make_acl("sasl", user, all=True)
        own = only_user if options.sasl else make_digest_acl(user, password, all=True)
        arguments["default_acl"] = [own]
    if options.tls is not None:
        arguments |= {"use_ssl": True, **options.tls}
    return arguments


class Wakeable(threading.Event):
    """An event that is cleared by the one who waits for it."""

    def wait_and_clear(self, timeout: float) -> None:
        """Wait until the event is set, or `timeout` seconds; clear it."""
        self.wait(timeout)
        self.clear()
