"""URLs that name a pool, and the options of a client.

    cachemesh://meta1:7700,meta2:7700/POOL             metaservers
    cachemeshs://meta1:7700,meta2:7700/POOL            metaservers, over TLS
    cachemesh+sentinel://s1:26379,s2:26379/POOL        Sentinels alone
    cachemesh+zk://zk1:2181,zk2:2181/CHROOT/POOL       ZooKeeper; CHROOT is cachemesh if left out
    cachemesh+file:///etc/cachemesh/POOL.json          a file

The query string carries redis-py's options and CacheMesh's own: ``token`` and ``token_file`` (the
metaserver's bearer token), ``metaserver_ca_file``, ``metaserver_cert_file`` and
``metaserver_key_file`` (for ``cachemeshs``: whom to trust if not whom the system trusts, and the
certificate to show), ``password_file`` (has what redis-py's ``password`` would be, and is read for
each connection), ``sentinel_username``, ``sentinel_password`` or ``sentinel_password_file``,
``sentinel_timeout`` (seconds for one Sentinel to answer), ``sentinel_ssl`` (TLS to the Sentinels,
with the ``ssl_`` options given for Redis; ``ssl`` itself is about Redis alone), ``snapshot_dir``
(the directory in which the topology is stored for a start without control plane, or ``off``), for
``cachemesh+zk``
``zookeeper_auth`` or ``zookeeper_auth_file`` (user:password of a login, or a file that holds it),
``zookeeper_auth_scheme`` (``digest`` or ``sasl``) and ``zookeeper_ssl`` (TLS to ZooKeeper, with the
``ssl_`` options given for Redis) and, for
``cachemesh+sentinel``, ``shards`` (NAME,NAME,...: the masters of the pool, where they are not
called POOL or POOL-...). The pool's settings, but for ``poll_interval``, can be given too, and win
over those of the pool: ``command_timeout``, ``connect_timeout``, ``retry_writes``, ``on_error``,
``read_from``, ``max_lag`` and ``on_lease_lost``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote

from cachemesh.core.errors import ConfigurationError, InvalidDocumentError
from cachemesh.core.names import check_name, parse_address
from cachemesh.core.policy import OPTIONS, check_options
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.bearer_token import BearerToken, find_token
from cachemesh.discovery.file_source import FileSource
from cachemesh.discovery.metaserver import DEFAULT_PORT, MetaserverClient
from cachemesh.discovery.metaserver_source import MetaserverSource
from cachemesh.discovery.metaserver_tls import MetaserverTls, tls_of
from cachemesh.discovery.password_file import read_now, with_password_file
from cachemesh.discovery.sentinel import SentinelClient
from cachemesh.discovery.sentinel_connection import DEFAULT_TIMEOUT, SentinelOptions
from cachemesh.discovery.sentinel_source import SentinelSource
from cachemesh.discovery.snapshot import SnapshotFile, snapshot_directory
from cachemesh.discovery.source import Source
from cachemesh.discovery.url_options import (
    OWN_OPTIONS,
    boolean,
    check_names,
    check_timeouts,
    query_options,
    seconds,
)
from cachemesh.discovery.zookeeper_options import zookeeper_access
from cachemesh.discovery.zookeeper_reader import ZookeeperAccess
from cachemesh.discovery.zookeeper_source import ZookeeperSource

_NOT_OF_LOGIN = frozenset(
    {
        "redis_connect_func",
        "retry",
        "single_connection_client",
        "decode_responses",
        "encoding",
        "encoding_errors",
        "max_connections",
        "socket_timeout",
        "socket_connect_timeout",
        "health_check_interval",
    }
)
"""Options that do not matter to the thread that measures the replication of instances."""

_ZK = "cachemesh+zk"
_METASERVERS = ("cachemesh", "cachemeshs")
_DEFAULT_PORTS = {
    "cachemesh": DEFAULT_PORT,
    "cachemeshs": DEFAULT_PORT,
    "cachemesh+sentinel": 26_379,
    _ZK: 2181,
}
_FORMS = (
    "cachemesh[s]://host:port/POOL, cachemesh+sentinel://host:port/POOL, "
    "cachemesh+zk://host:port/CHROOT/POOL or cachemesh+file:///path/pool.json"
)


@dataclass(frozen=True)
class MeshUrl:
    """A parsed URL.

    Attributes:
        shown: scheme, hosts and pool, for messages; no options, so no secrets.
        scheme: ``cachemesh``, ``cachemeshs``, ``cachemesh+sentinel``, ``cachemesh+zk`` or
            ``cachemesh+file``.
        addresses: ``host:port`` of each metaserver, Sentinel or ZooKeeper.
        pool: name of the pool, or path of its file.
        make_source: makes a source of the pool's documents.
        sentinel_options: how to connect to Sentinels.
        options: the options of `redis.Redis`.
        identity: equal for URLs that lead to the same pool in the same way.
        policy: the options of `cachemesh.core.policy`.
        snapshot: where the topology is stored, for a start without control plane; None for nowhere.
        metaserver_tls: the files for TLS to the metaservers; None for none.
    """

    shown: str
    scheme: str
    addresses: tuple[str, ...]
    pool: str
    make_source: Callable[[], Source] = field(repr=False)
    sentinel_options: SentinelOptions
    options: Mapping[str, Any] = field(repr=False)
    identity: Hashable = field(repr=False)
    policy: Mapping[str, Any] = field(default_factory=dict)
    snapshot: SnapshotFile | None = None
    metaserver_tls: MetaserverTls | None = None

    @property
    def login(self) -> Hashable:
        """Equal for clients of one pool that connect and log in to its instances alike."""
        options = {n: v for n, v in self.options.items() if n not in _NOT_OF_LOGIN}
        return self.identity, _alike(options)

    def read_document(self) -> PoolDocument:
        """Return the pool's document, for one look: nobody counts as a client afterwards.

        Raises:
            CacheMeshError, redis.ConnectionError: as `Source.load`.
        """
        source = self.make_source()
        try:
            return source.load()
        finally:
            source.leave()


def parse_url(
    url: str | None, options: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> MeshUrl:
    """Check and parse a URL with its options.

    Args:
        url: the URL; None takes CACHEMESH_URL from ``environ``.
        options: keyword options, which override those of the query string.
        environ: holds CACHEMESH_URL, CACHEMESH_TOKEN and CACHEMESH_TOKEN_FILE. Where snapshots
            are, also the process's own environment says, if this does not.

    Raises:
        ConfigurationError: the URL or an option is not valid. The message names the option, but
            never its value.
    """
    if url is None:
        url = (environ or {}).get("CACHEMESH_URL")
        if not url:
            raise ConfigurationError(f"CACHEMESH_URL is not set; set it to {_FORMS}")
    parts = _split(url)
    merged = {**query_options(parts.query), **options}
    check_names(merged)
    own = {name: merged.pop(name) for name in OWN_OPTIONS & merged.keys()}
    policy = check_options({name: merged.pop(name) for name in OPTIONS & merged.keys()})
    check_timeouts(merged)
    merged = with_password_file(merged, own.get("password_file"))
    sentinel_options = _sentinel_options(own, merged)
    directory = snapshot_directory(own.get("snapshot_dir"), {**os.environ, **(environ or {})})
    if parts.scheme == "cachemesh+file":
        _shards(own.get("shards"), parts.scheme)
        mesh = _file_url(parts.path, sentinel_options, merged)
        return _with_snapshot(replace(mesh, policy=policy), directory, mesh.shown, None)
    place = _place(parts, own, merged)
    shards = _shards(own.get("shards"), parts.scheme)
    token = None
    if parts.scheme in (*_METASERVERS, _ZK):
        token = find_token(own.get("token"), own.get("token_file"), environ)
    tls = tls_of(own, parts.scheme)
    app = merged.get("client_name")
    make_source = partial(_make_source, place, token, tls, app, sentinel_options, shards)
    shown = f"{parts.scheme}://{','.join(place.addresses)}{place.path}"
    identity = (shown, token, shards, _identity(sentinel_options), place.access, tls)
    mesh = MeshUrl(
        shown,
        parts.scheme,
        place.addresses,
        place.pool,
        make_source,
        sentinel_options,
        merged,
        identity,
        policy,
        metaserver_tls=tls,
    )
    # Not in the order in which the URL has them: it names the same deployment in any.
    origin = f"{parts.scheme}://{','.join(sorted(place.addresses))}"
    return _with_snapshot(mesh, directory, "+".join((f"{origin}{place.path}", *shards)), place.pool)


@dataclass(frozen=True)
class _Place:
    """What a URL names besides its options.

    Attributes:
        scheme: of the URL.
        addresses: ``host:port`` of each server.
        pool: its name.
        access: where the deployment is in ZooKeeper; None for other schemes.
    """

    scheme: str
    addresses: tuple[str, ...]
    pool: str
    access: ZookeeperAccess | None

    @property
    def path(self) -> str:
        """The path of the URL."""
        return f"/{self.pool}" if self.access is None else f"{self.access.chroot}/{self.pool}"


def _place(parts: SplitResult, own: Mapping[str, Any], redis_options: Mapping[str, Any]) -> _Place:
    default_port = _DEFAULT_PORTS[parts.scheme]
    chroot, _, name = parts.path.strip("/").rpartition("/" if parts.scheme == _ZK else "\0")
    try:
        addresses = tuple(str(parse_address(a, default_port)) for a in parts.netloc.split(","))
        pool = check_name("pool", unquote(name))
    except InvalidDocumentError as error:
        raise ConfigurationError(f"{error}; the URL is of the form {_FORMS}") from error
    access = None
    if parts.scheme == _ZK:
        access = zookeeper_access(",".join(addresses), chroot, own, redis_options)
    return _Place(parts.scheme, addresses, pool, access)


def _make_source(
    place: _Place,
    token: BearerToken | None,
    tls: MetaserverTls | None,
    app: str | None,
    sentinel_options: SentinelOptions,
    shards: tuple[str, ...],
) -> Source:
    if place.access is not None:
        client = MetaserverClient.without_addresses(token, tls=tls)
        return ZookeeperSource(place.access, client, place.pool, app)
    if tls is not None:
        secure = [f"https://{address}" for address in place.addresses]
        return MetaserverSource(MetaserverClient(secure, token, tls=tls), place.pool, app)
    if place.scheme in _METASERVERS:
        return MetaserverSource(MetaserverClient(place.addresses, token), place.pool, app)
    sentinels = SentinelClient(place.addresses, sentinel_options)
    return SentinelSource(sentinels, place.pool, place.addresses, shards)


def _with_snapshot(mesh: MeshUrl, directory: Path | None, origin: str, pool: str | None) -> MeshUrl:
    """Return the URL with the place of its snapshot; clients of two places share no follower."""
    if directory is None:
        return mesh
    identity = (mesh.identity, str(directory))
    return replace(mesh, snapshot=SnapshotFile(directory, origin, pool), identity=identity)


def _sentinel_options(own: Mapping[str, Any], redis_options: Mapping[str, Any]) -> SentinelOptions:
    password, file = own.get("sentinel_password"), own.get("sentinel_password_file")
    if password is not None and file is not None:
        raise ConfigurationError(
            "Give option sentinel_password or sentinel_password_file, not both"
        )
    return SentinelOptions(
        username=own.get("sentinel_username"),
        password=password,
        password_file=None if file is None else read_now(file),
        timeout=seconds("sentinel_timeout", own.get("sentinel_timeout", DEFAULT_TIMEOUT)),
        connection=_sentinel_tls(own.get("sentinel_ssl", False), redis_options),
    )


def _shards(given: Any, scheme: str) -> tuple[str, ...]:
    if given is None:
        return ()
    if scheme != "cachemesh+sentinel":
        raise ConfigurationError(
            "Option shards is for cachemesh+sentinel:// alone; elsewhere the pool names its shards"
        )
    names = given.split(",") if isinstance(given, str) else given
    try:
        return tuple(sorted({check_name("shard", name) for name in names}))
    except (InvalidDocumentError, TypeError) as error:
        raise ConfigurationError(f"Option shards takes NAME,NAME,...: {error}") from error


def _identity(options: SentinelOptions) -> Hashable:
    login = options.username, options.password, options.password_file
    return login, options.timeout, _alike(options.connection)


def _alike(options: Mapping[str, Any]) -> Hashable:
    return tuple(sorted((name, _same(value)) for name, value in options.items()))


def _same(value: object) -> str:
    """Return a text that is equal for two values only if they have the same effect."""
    plain = isinstance(value, (str, bytes, int, float, bool, type(None)))
    return repr(value) if plain else f"object {id(value)}"


def _sentinel_tls(wanted: object, options: Mapping[str, Any]) -> dict[str, Any]:
    if not boolean("sentinel_ssl", wanted):
        return {}
    return {"ssl": True, **{n: v for n, v in options.items() if n.startswith("ssl_")}}


def require_scheme(url: str) -> tuple[str, str]:
    """Return the scheme of a URL, and what follows it.

    Raises:
        ConfigurationError: no pool has a URL of this scheme.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in (*_DEFAULT_PORTS, "cachemesh+file"):
        shown = repr(scheme)[:40] if separator else "(none)"  # a longer one could be a secret
        raise ConfigurationError(f"URL scheme {shown} is not known; write {_FORMS}")
    return scheme, rest


def _split(url: str) -> SplitResult:
    # Not by urlsplit: Python's releases differ in how they parse several hosts with IPv6 addresses.
    scheme, rest = require_scheme(url)
    rest, _, query = rest.partition("?")
    netloc, slash, path = rest.partition("/")
    if "@" in netloc:
        raise ConfigurationError(
            "The URL holds credentials before '@'; pass the options username and password "
            "(for Redis) or token_file (for the metaserver) instead"
        )
    return SplitResult(scheme, netloc, slash + path, query, "")


def _file_url(path: str, sentinel_options: SentinelOptions, options: dict[str, Any]) -> MeshUrl:
    path = unquote(path)
    if not path.strip("/"):
        raise ConfigurationError(f"The URL names no file; write {_FORMS}")
    shown, scheme = f"cachemesh+file://{path}", "cachemesh+file"
    identity = (shown, _identity(sentinel_options))
    return MeshUrl(
        shown, scheme, (), path, lambda: FileSource(path), sentinel_options, options, identity
    )
