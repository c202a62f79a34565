"""The options of the metaserver's command line for URLs that events are posted to."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from metaserver.password_options import referenced
from metaserver.process.config import RedisTls, WebhookOptions
from metaserver.redis_io.tls import TlsError, context_of
from metaserver.webhooks.target import targets_of

Command = TypeVar("Command", bound=Callable[..., Any])

_URL = "--event-webhook"


def webhook_options(command: Command) -> Command:
    """Add --event-webhook and --event-webhook-...; the command takes ``event_webhooks``."""

    @functools.wraps(command)
    def called(
        *args: Any,
        event_webhook: tuple[str, ...],
        event_webhook_secret_file: Path | None,
        event_webhook_ca_file: Path | None,
        **options: Any,
    ) -> Any:
        given = webhooks_of(event_webhook, event_webhook_secret_file, event_webhook_ca_file)
        return command(*args, event_webhooks=given, **options)

    file = click.Path(path_type=Path, dir_okay=False)
    for option in (
        click.option(
            "--event-webhook-ca-file",
            type=file,
            help="PEM file with the CAs to trust for these URLs.  [default: the system's]",
        ),
        click.option(
            "--event-webhook-secret-file",
            type=file,
            help="File with the secret that signs each POST (HMAC-SHA256).",
        ),
        click.option(
            _URL,
            metavar="URL|env:NAME|file:PATH",
            multiple=True,
            help="Post each event of the audit log there; can be given several times.",
        ),
    ):
        called = option(called)
    return cast("Command", called)


def webhooks_of(
    urls: tuple[str, ...], secret_file: Path | None, ca_file: Path | None
) -> WebhookOptions:
    """Return what the options say.

    Raises:
        click.UsageError: they do not fit, or a file cannot be used. No message has a secret.
    """
    if not urls:
        if secret_file is not None or ca_file is not None:
            raise click.UsageError(f"{_URL}-... say how to post events; give {_URL} too, to where.")
        return WebhookOptions()
    found = tuple(_url(each) for each in urls)
    try:
        targets = targets_of(found)
    except ValueError as error:
        raise click.UsageError(f"{_URL}: {error}.") from error
    ca = None if ca_file is None else str(ca_file.absolute())
    if any(each.tls for each in targets):
        try:
            context_of(RedisTls(ca_certs=ca))
        except TlsError as error:
            raise click.UsageError(f"{_URL}-ca-file: {error}") from error
    return WebhookOptions(found, None if secret_file is None else _secret(secret_file), ca)


def _url(given: str) -> str:
    """Return a URL, which may be in a file or a variable, as its path may be a secret."""
    return referenced(_URL, given) if given.startswith(("env:", "file:")) else given


def _secret(file: Path) -> str:
    secret = referenced(f"{_URL}-secret-file", f"file:{file}")
    if not secret:
        raise click.UsageError(f"{_URL}-secret-file: {file} is empty.")
    return secret
