"""The options of the metaserver's command line for TLS to instances and Sentinels.

Their names are those of the client's options: ``ssl`` is what is connected to, ``tls`` is served.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from metaserver.password_options import FORM, referenced
from metaserver.process.config import RedisTls
from metaserver.redis_io.tls import TlsError, context_of

Command = TypeVar("Command", bound=Callable[..., Any])


def redis_tls_options(command: Command) -> Command:
    """Add --redis-ssl, --sentinel-ssl and --ssl-...; the command takes ``redis_tls`` and
    ``sentinel_tls``, each None without TLS.
    """

    @functools.wraps(command)
    def called(
        *args: Any,
        redis_ssl: bool,
        sentinel_ssl: bool,
        ssl_ca_certs: Path | None,
        ssl_certfile: Path | None,
        ssl_keyfile: Path | None,
        ssl_password: str | None,
        ssl_check_hostname: bool,
        **options: Any,
    ) -> Any:
        files = (ssl_ca_certs, ssl_certfile, ssl_keyfile)
        given = ssl_password is not None or any(files) or not ssl_check_hostname
        tls = None
        if redis_ssl or sentinel_ssl:
            tls = _tls(files, ssl_password, ssl_check_hostname)
        elif given:
            raise click.UsageError(
                "--ssl-... options say how to speak TLS, --redis-ssl and --sentinel-ssl to whom; "
                "give one of these too."
            )
        return command(
            *args,
            redis_tls=tls if redis_ssl else None,
            sentinel_tls=tls if sentinel_ssl else None,
            **options,
        )

    file = click.Path(path_type=Path, dir_okay=False)
    for option in (
        click.option(
            "--ssl-check-hostname/--no-ssl-check-hostname",
            default=True,
            show_default=True,
            help="Whether their certificates have to be for the host that is connected to.",
        ),
        click.option("--ssl-password", metavar=FORM, help="Where the password of that key is."),
        click.option("--ssl-keyfile", type=file, help="PEM file with the certificate's key."),
        click.option(
            "--ssl-certfile",
            type=file,
            help="PEM file with a certificate to show to instances and Sentinels.",
        ),
        click.option(
            "--ssl-ca-certs",
            type=file,
            help="PEM file with the CAs to trust for instances and Sentinels.  [default: the "
            "system's]",
        ),
        click.option("--sentinel-ssl", is_flag=True, help="Speak TLS to Sentinels."),
        click.option("--redis-ssl", is_flag=True, help="Speak TLS to instances."),
    ):
        called = option(called)
    return cast("Command", called)


def _tls(
    files: tuple[Path | None, Path | None, Path | None], password: str | None, check_hostname: bool
) -> RedisTls:
    ca_certs, certfile, keyfile = (None if f is None else str(f.absolute()) for f in files)
    if keyfile is not None and certfile is None:
        raise click.UsageError("--ssl-keyfile is the key of a certificate: give --ssl-certfile.")
    secret = None if password is None else referenced("--ssl-password", password)
    tls = RedisTls(ca_certs, certfile, keyfile, secret, check_hostname)
    try:
        context_of(tls)
    except TlsError as error:
        raise click.UsageError(f"--ssl-...: {error}") from error
    return tls
