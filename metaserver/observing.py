"""An observer: a metaserver without a store of its own, which shows what Sentinels monitor.

    Sentinels --SentinelSource--> document --> a passing store, removed when the process ends

The document is made as clients make it that follow Sentinels alone.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import click

from cachemesh.core.errors import (
    ConfigurationError,
    PoolNotFoundError,
    SentinelUnavailableError,
)
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.source import Source
from cachemesh.discovery.url import parse_url
from cachemesh.discovery.wakeup import StopEvent
from metaserver.domain.audit_log import NewEvent
from metaserver.process.config import Config
from metaserver.store import StorageError, Store

_AGAIN = 1.0  # seconds until Sentinels that did not answer are asked again

_FORM = "cachemesh+sentinel://HOST:PORT[,HOST:PORT]/POOL"
_ALLOWED = ("shards", "sentinel_timeout")

log = logging.getLogger("metaserver")


class Observer:
    """Keeps the document of one pool in a store as a source has it.

    Args:
        store: of this process alone.
        source: makes documents of what Sentinels monitor.
    """

    def __init__(self, store: Store, source: Source) -> None:
        self._store = store
        self._source = source

    def run(self, stop: threading.Event) -> None:
        """Follow the source until `stop` is set."""
        version, failing = 0, ""
        while not stop.is_set():
            try:
                found = (
                    self._source.load() if not version else self._source.wait(version, StopEvent())
                )
                if found is not None:
                    self._take_over(found)
                    version = found.version
                failing = ""
            except (SentinelUnavailableError, PoolNotFoundError, StorageError) as error:
                if str(error) != failing:
                    log.error("observing: %s", error)
                failing = str(error)
                stop.wait(_AGAIN)

    def _take_over(self, found: PoolDocument) -> None:
        """Store a document, at a version of the store's own."""
        names = ", ".join(found.placement.names)
        event = NewEvent("pool.observe", pool=found.pool, detail=f"Sentinels monitor {names:.500}")
        known = self._store.document(found.pool)
        if known is None:
            self._store.create_document(found, event)
        elif known.placement != found.placement:
            self._store.put_document(known.replace(placement=found.placement), known.version, event)


def observed_url(_context: object, _option: object, url: str | None) -> str | None:
    """Return the URL of --observe. The callback of the option.

    Raises:
        click.BadParameter: it does not name Sentinels and a pool, or has other options.
    """
    if url is None:
        return None
    unknown = {name for name, _ in parse_qsl(url.partition("?")[2])} - set(_ALLOWED)
    if not url.startswith("cachemesh+sentinel://") or unknown:
        raise click.BadParameter(
            f"write {_FORM}, with no options but {' and '.join(_ALLOWED)}; user names and "
            "passwords have options of their own, as `ps` shows the command"
        )
    try:
        parse_url(url, {})
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from error
    return url


def source_of(config: Config) -> Source:
    """Return the source of the observed pool's documents.

    Raises:
        ConfigurationError: the URL is not valid.
    """
    auth = config.sentinel_auth
    given: dict[str, Any] = {
        "sentinel_username": auth.username,
        "sentinel_password": auth.password,
    }
    if auth.tls is not None:
        given["sentinel_ssl"] = True
        given |= {f"ssl_{name}": value for name, value in vars(auth.tls).items()}
    options = {name: value for name, value in given.items() if value is not None}
    return parse_url(config.observe, options, {}).make_source()


@contextmanager
def passing_store() -> Iterator[Path]:
    """Yield a path for a store's file in a directory that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="cachemesh-observer-") as directory:
        yield Path(directory) / "observed.db"
