"""The command line of the metaserver."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click
from flask import Flask

from cachemesh.core.errors import CacheMeshError, InvalidDocumentError
from cachemesh.core.names import Address, parse_address
from cachemesh.serving import DirectCalls, Server, Site, TlsFileError, TlsFiles, bind
from metaserver.api.app import create_app
from metaserver.api.direct_watch import DirectWatches
from metaserver.api.problem_details import unparsed
from metaserver.observing import observed_url, passing_store
from metaserver.password_options import auth_of, auth_options
from metaserver.process.config import (
    PRIVATE_NETWORKS,
    Config,
    RedisTls,
    WebhookOptions,
    ZookeeperOptions,
)
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_tls_options import redis_tls_options
from metaserver.runtime import build
from metaserver.service.tokens import Tokens
from metaserver.store import StorageDiskError, StorageFullError
from metaserver.store.opening import open_store
from metaserver.webhook_options import webhook_options
from metaserver.zookeeper_options import zookeeper_options

CONNECTIONS = 20_000  # at once; held watch calls and streams are cheap

_FILE = click.Path(path_type=Path, dir_okay=False)

log = logging.getLogger("metaserver")


def _fail(message: str) -> NoReturn:
    click.echo(f"metaserver: {message}", err=True)
    sys.exit(1)


def _tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> TlsFiles | None:
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise click.UsageError("TLS takes both --tls-cert-file and --tls-key-file.")
    files = TlsFiles(certificate.absolute(), key.absolute(), client_ca and client_ca.absolute())
    try:
        files.context()
    except TlsFileError as error:
        _fail(str(error))
    return files


def _listen_address(_context: object, _option: object, text: str) -> tuple[str, int]:
    try:
        return parse_address(text, 7700)
    except InvalidDocumentError as error:
        raise click.BadParameter(str(error)) from error


def _advertised(context: object, option: object, text: str | None) -> str | None:
    return None if text is None else str(Address(*_listen_address(context, option, text)))


def _networks(_context: object, _option: object, given: tuple[str, ...]) -> tuple[str, ...]:
    try:
        AllowedNetworks(given)
    except ValueError as error:
        raise click.BadParameter(f"{error}; write it like 10.0.0.0/8") from error
    return given or PRIVATE_NETWORKS


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:7700",
    show_default=True,
    callback=_listen_address,
    help="Where to serve the API.",
)
@click.option(
    "--advertise",
    metavar="HOST:PORT",
    callback=_advertised,
    help="Where others reach this process.  [default: as --listen; this host's name for all "
    "addresses]",
)
@click.option(
    "--db",
    type=click.Path(path_type=Path, dir_okay=False),
    help="SQLite file, created if need be; several processes of one machine may share it.",
)
@zookeeper_options
@click.option(
    "--observe",
    metavar="URL",
    callback=observed_url,
    help="Show the pool of cachemesh+sentinel://HOST:PORT[,...]/POOL, without a store, and change "
    "nothing.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the first admin token.  [default: the SQLite file's name + .token]",
)
@click.option(
    "--history-file",
    type=_FILE,
    help="Where to keep the figures of the last day, while this process leads.  [default: the "
    "SQLite file's name, or with ZooKeeper that of the token file, + .history]",
)
@click.option(
    "--allow-network",
    "networks",
    metavar="CIDR",
    multiple=True,
    callback=_networks,
    help="Where instances and Sentinels may live; can be given several times.  "
    "[default: private networks]",
)
@click.option(
    "--max-clients",
    type=click.IntRange(1, CONNECTIONS),
    default=Config.max_clients,
    show_default=True,
    help="Live clients that one token may have, over all pools.",
)
@click.option(
    "--max-rate",
    type=click.IntRange(1, 1_000_000),
    default=Config.max_rate,
    show_default=True,
    metavar="N",
    help="Calls per second of one token, but for those of clients; up to twice as many at once.",
)
@click.option(
    "--session-timeout",
    type=click.FloatRange(1.0, 60.0),
    default=Config.session_timeout,
    show_default=True,
    metavar="SECONDS",
    help="Without a sign of progress of the leading process for so long, another one leads; the "
    "same for all processes on one file.",
)
@click.option(
    "--lease",
    type=click.FloatRange(1.0, 3600.0),
    default=Config.lease,
    show_default=True,
    metavar="SECONDS",
    help="For how long a client counts as live, and may route, after its last watch call; the same "
    "for all processes on one store.",
)
@click.option(
    "--tls-cert-file", type=_FILE, help="Serve over TLS, with the certificate in this PEM file."
)
@click.option("--tls-key-file", type=_FILE, help="PEM file with the certificate's key.")
@click.option(
    "--tls-client-ca-file",
    type=_FILE,
    help="Let in only clients with a certificate of a CA in this PEM file, beside their token.",
)
@auth_options("redis", "instances")
@auth_options("sentinel", "Sentinels")
@redis_tls_options
@webhook_options
@click.option(
    "--events-max",
    type=click.IntRange(min=100),
    default=100_000,
    show_default=True,
    metavar="N",
    help="How many entries the audit log keeps; the oldest go.",
)
@click.option(
    "--events-max-age",
    "events_max_days",
    type=click.IntRange(min=1),
    default=365,
    show_default=True,
    metavar="DAYS",
    help="For how long the audit log keeps an entry.",
)
def serve(
    listen: tuple[str, int],
    advertise: str | None,
    db: Path | None,
    zookeeper: ZookeeperOptions | None,
    observe: str | None,
    token_file: Path | None,
    history_file: Path | None,
    networks: tuple[str, ...],
    max_clients: int,
    max_rate: int,
    session_timeout: float,
    lease: float,
    tls_cert_file: Path | None,
    tls_key_file: Path | None,
    tls_client_ca_file: Path | None,
    events_max: int,
    events_max_days: int,
    redis_tls: RedisTls | None,
    sentinel_tls: RedisTls | None,
    event_webhooks: WebhookOptions,
    **logins: str | None,
) -> None:
    """Serve the control plane of CacheMesh until SIGTERM or Ctrl-C."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(message)s"
    )
    tls = _tls(tls_cert_file, tls_key_file, tls_client_ca_file)
    zookeeper, db, token_file = _where(zookeeper, db, observe, token_file, session_timeout)
    config = Config(
        observe=observe,
        db=db,
        zookeeper=zookeeper,
        host=listen[0],
        port=listen[1],
        advertise=advertise,
        serves_tls=tls is not None,
        token_file=token_file,
        history_file=history_file and history_file.absolute(),
        allowed_networks=networks,
        max_clients=max_clients,
        max_rate=max_rate,
        session_timeout=session_timeout,
        lease=lease,
        redis_auth=replace(auth_of("redis", logins), tls=redis_tls),
        sentinel_auth=replace(auth_of("sentinel", logins), tls=sentinel_tls),
        event_webhooks=event_webhooks,
        events_max=events_max,
        events_max_age=events_max_days * 86_400.0,
    )
    with ExitStack() as at_end:
        if observe is not None:
            config = replace(config, db=at_end.enter_context(passing_store()))
        _serve(config, tls)


def _serve(config: Config, tls: TlsFiles | None) -> None:
    try:
        listener = bind(config.host, config.port)
        _prepare(config)
    except CacheMeshError as error:
        _fail(str(error))
    except OSError as error:
        hint = "stop what uses it, or choose" if error.errno == errno.EADDRINUSE else "choose"
        _fail(
            f"cannot listen on {config.host}:{config.port}: {error.strerror}; "
            f"{hint} another address with --listen"
        )
    else:
        where = f"store {config.zookeeper or config.db}"
        if config.observe is not None:
            where = f"observing {config.observe.partition('?')[0]}"
        scheme = "http" if tls is None else "https"
        log.info("serving on %s://%s:%d, %s", scheme, config.host, config.port, where)
        name = "cachemesh-metaserver"
        site = Site(name, lambda: _make_app(config), unparsed, CONNECTIONS, tls=tls)
        Server(site, listener).serve()


def _where(
    zookeeper: ZookeeperOptions | None,
    db: Path | None,
    observe: str | None,
    token_file: Path | None,
    session_timeout: float,
) -> tuple[ZookeeperOptions | None, Path, Path]:
    """Return where the store is, and the file of the first token."""
    if sum(given is not None for given in (zookeeper, db, observe)) != 1:
        raise click.UsageError(
            "Give one of --db FILE, --zookeeper HOST:PORT,.../CHROOT and --observe URL."
        )
    if db is not None:
        db = db.absolute()
        return None, db, token_file or db.with_name(f"{db.name}.token")
    if token_file is None and observe is not None:
        raise click.UsageError(
            "With --observe, --token-file FILE is needed: it has the token to speak to the "
            "metaserver with, and is made if it is not there."
        )
    if observe is not None:
        return None, Path(), token_file or Path()
    if token_file is None:
        raise click.UsageError(
            "With --zookeeper, --token-file FILE is needed: the metaserver that is started first "
            "writes the first admin token there."
        )
    assert zookeeper is not None
    return replace(zookeeper, session_timeout=session_timeout), Path(), token_file


def _prepare(config: Config) -> None:
    """Report what does not work in one line, before serving; create the first token.

    A store that can be read but has no room left does not prevent the start.
    """
    store = open_store(config)
    try:
        try:
            store.check_writable()
        except (StorageFullError, StorageDiskError) as error:
            # Reads are served; changes are refused with this reason.
            log.error("%s; until then nothing can be changed", error)
        if config.token_file is not None and config.observe is not None:
            Tokens(store).keep_first_admin(config.token_file)
        elif config.token_file is not None and Tokens(store).make_first_admin(config.token_file):
            log.info("wrote the first admin token to %s", config.token_file)
    finally:
        store.close()


def _make_app(config: Config) -> tuple[Flask, Callable[[], None], DirectCalls]:
    runtime = build(config)
    runtime.start()
    return create_app(runtime.backend), runtime.stop, DirectWatches(runtime.backend)
