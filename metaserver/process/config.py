"""The settings of one metaserver process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Loopback only when asked for: there it names this machine, not a cache server.
PRIVATE_NETWORKS = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
)


@dataclass(frozen=True)
class RedisTls:
    """How to speak TLS to Redis or Sentinel; the names are redis-py's, without ``ssl_``.

    Attributes:
        ca_certs: PEM file with the CAs to trust; None: those that the system trusts.
        certfile, keyfile: PEM files of the certificate to show to servers that ask for one.
        password: of the key file.
        check_hostname: whether a certificate has to be for the host that was connected to.
    """

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    password: str | None = field(default=None, repr=False)
    check_hostname: bool = True


@dataclass(frozen=True)
class RedisAuth:
    """How the metaserver and Redis, or Sentinel, make sure of one another.

    Attributes:
        username, password: without both, no AUTH is sent.
        tls: None: connections are not encrypted.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: RedisTls | None = None


@dataclass(frozen=True)
class ZookeeperOptions:
    """How to reach an ensemble.

    Attributes:
        hosts: "host:port,host:port".
        chroot: the path below which everything is, such as "/cachemesh".
        session_timeout: seconds without a sign of a process, after which its session is over.
        login: "user:password", which alone may then see or change anything; None for no login.
        sasl: whether to log in by SASL (DIGEST-MD5); else by ZooKeeper's scheme `digest`.
        tls: options of kazoo's TLS, such as ca, certfile and keyfile; None for plain TCP.
    """

    hosts: str
    chroot: str
    session_timeout: float = 6.0
    login: str | None = field(default=None, repr=False)
    sasl: bool = False
    tls: Mapping[str, Any] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """Return the address without any secret."""
        return f"{self.hosts}{self.chroot}"


@dataclass(frozen=True)
class WebhookOptions:
    """Where events of the audit log are posted to.

    Attributes:
        urls: of which the paths may be secrets.
        secret: signs each POST; None: none is signed.
        ca_file: PEM file with the CAs to trust; None: those that the system trusts.
    """

    urls: tuple[str, ...] = field(default=(), repr=False)
    secret: str | None = field(default=None, repr=False)
    ca_file: str | None = None


@dataclass(frozen=True)
class Config:
    """The settings of a metaserver process; every duration is in seconds.

    Attributes:
        db: the SQLite file, unless the store is in ZooKeeper.
        zookeeper: the store's ensemble; None for a store in `db`.
        history_file: where the figures of the last day are kept; see `history_path`.
        observe: URL of the Sentinels and the pool of an observer, which changes nothing; None for
            a full metaserver.
    """

    db: Path
    zookeeper: ZookeeperOptions | None = None
    observe: str | None = None
    host: str = "127.0.0.1"
    port: int = 7700
    advertise: str | None = None  # where others reach this process, "host:port"
    serves_tls: bool = False
    token_file: Path | None = None
    history_file: Path | None = None
    allowed_networks: tuple[str, ...] = PRIVATE_NETWORKS
    redis_auth: RedisAuth = field(default_factory=RedisAuth)
    sentinel_auth: RedisAuth = field(default_factory=RedisAuth)
    instance_timeout: float = 2.0  # to connect to an instance, and to wait for each reply
    sentinel_timeout: float = 1.0  # for an answer; a change may take several times as long
    status_interval: float = 1.0  # between two observations of a pool
    repair_interval: float = 5.0
    sweep_interval: float = 0.5  # between two looks for sweeps to do
    intent_age: float = 30.0  # after which an unfinished intent is undone
    lease: float = 30.0  # for which a client counts as live after its last watch call
    event_webhooks: WebhookOptions = field(default_factory=WebhookOptions)
    events_max: int = 100_000  # entries that the audit log keeps
    events_max_age: float = 365 * 86_400.0  # after which an entry is deleted
    session_timeout: float = 6.0  # without progress, after which a leader has lost the lead
    max_clients: int = 10_000  # live clients of one token, and their calls in progress at once
    max_rate: int = 500  # calls per second of one token, but for those of clients

    @property
    def history_path(self) -> Path:
        """The file with the figures of the last day, unless given beside the store's file.

        With a store in ZooKeeper this is beside the file of the first token.
        """
        beside = self.db
        if self.zookeeper is not None and self.token_file is not None:
            beside = self.token_file
        return self.history_file or beside.with_name(f"{beside.name}.history")
