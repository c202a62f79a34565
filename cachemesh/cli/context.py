"""What every command needs to know: which pool, where, with which token, and how to print."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar, cast
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit, urlunsplit

import click

from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.cli.output import OUTPUT_HELP, OUTPUTS, Output
from cachemesh.core.names import check_name
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.metaserver import MetaserverClient, read_token
from cachemesh.discovery.sentinel_connection import SentinelOptions
from cachemesh.discovery.url import parse_url
from cachemesh.sync.client import CacheMesh

_FORM = "cachemesh://HOST:PORT[,HOST:PORT]/POOL"
_TIMEOUT_S = 30.0
"""A change asks several Redis and Sentinel processes, each of which may hang for seconds."""

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Options:
    """The options that may stand before or after a command's name; None where not given."""

    url: str | None = None
    token_file: str | None = None
    pool: str | None = None
    output: Output | None = None

    def over(self, outer: Options) -> Options:
        """These options, where not given those of ``outer``."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return Options(
            **{
                name: getattr(outer, name) if value is None else value
                for name, value in given.items()
            }
        )


@dataclass(frozen=True)
class Session:
    """One run of a command."""

    options: Options

    @property
    def output(self) -> Output:
        return self.options.output or "table"

    @property
    def wide(self) -> bool:
        """Whether tables have all their columns, however narrow the terminal."""
        return self.output == "wide"

    @property
    def url(self) -> str:
        """The URL given.

        Raises:
            CommandError: none was.
        """
        url = self.options.url or os.environ.get("CACHEMESH_URL")
        if not url:
            raise CommandError(
                "no URL",
                "neither --url nor CACHEMESH_URL is set",
                f"set CACHEMESH_URL={_FORM}, or start a local stack: cachemesh up",
                ExitCode.USAGE,
            )
        return url

    @functools.cached_property
    def _parts(self) -> SplitResult:
        try:
            parts = urlsplit(self.url)
        except ValueError as error:
            raise CommandError(
                "URL", f"it cannot be read ({error})", f"write {_FORM}", ExitCode.USAGE
            ) from error
        if "@" in parts.netloc:
            raise CommandError(
                "URL",
                "it carries a user name or password before the host",
                "put the metaserver's token into a file and name it by --token-file",
                ExitCode.USAGE,
            )
        return parts

    @property
    def speaks_to_metaserver(self) -> bool:
        return self._parts.scheme == "cachemesh"

    @functools.cached_property
    def metaserver(self) -> MetaserverClient:
        """The metaservers of the URL.

        Raises:
            CommandError: the URL is not of the form cachemesh://HOST:PORT/POOL.
            ConfigurationError: an address or the token file is not valid.
        """
        parts = self._parts
        if not self.speaks_to_metaserver or not parts.netloc:
            raise CommandError(
                f"URL {parts.scheme}://{parts.netloc}{parts.path}",
                "this command speaks to a metaserver",
                f"give a URL of the form {_FORM}",
                ExitCode.USAGE,
            )
        return MetaserverClient(parts.netloc.split(","), token=self.token, timeout=_TIMEOUT_S)

    @property
    def token(self) -> str | None:
        """The token for the metaserver: from --token-file, else the URL's, else the environment's.

        Raises:
            ConfigurationError: the token file cannot be read, or holds no token.
        """
        if self.options.token_file is not None:
            return read_token(None, self.options.token_file)
        query = dict(parse_qsl(self._parts.query))
        return read_token(query.get("token"), query.get("token_file"), os.environ)

    @property
    def pool_or_none(self) -> str | None:
        """The pool, if one was named.

        Raises:
            InvalidDocumentError: the name is not valid.
        """
        name = self.options.pool
        if name is None and self.speaks_to_metaserver:
            name = unquote(self._parts.path.strip("/")) or None
        return None if name is None else check_name("pool", name)

    @property
    def pool(self) -> str:
        """The pool that the command is about.

        Raises:
            CommandError: none was named.
        """
        name = self.pool_or_none
        if name is None:
            raise CommandError(
                "no pool",
                "the URL names none and --pool is not given",
                "add --pool NAME; see: cachemesh pool list",
                ExitCode.USAGE,
            )
        return name

    def path(self, *segments: str) -> str:
        """The path of something that belongs to the pool."""
        return "/v1/pools/" + "/".join(
            quote(segment, safe="") for segment in (self.pool, *segments)
        )

    def get(self, *segments: str) -> Any:
        """The metaserver's answer about something that belongs to the pool."""
        return self.metaserver.request("GET", self.path(*segments))

    def document(self) -> PoolDocument:
        """The pool's document, from wherever the URL says.

        Raises:
            CacheMeshError, redis.ConnectionError: it cannot be had.
        """
        if self.speaks_to_metaserver:
            return PoolDocument.from_dict(self.get())
        return parse_url(self.url, {}).source.load()

    @property
    def sentinel_options(self) -> SentinelOptions:
        """How the URL says to connect to Sentinels."""
        return parse_url(self._client_url, {}).sentinel_options

    def client(self) -> CacheMesh:
        """A client of the pool; close it.

        Raises:
            ConfigurationError, CommandError: the URL, an option or the token file is not valid.
        """
        token = self.token if self.speaks_to_metaserver else None
        options = {} if token is None else {"token": token}
        return CacheMesh.from_url(self._client_url, **options)

    @property
    def _client_url(self) -> str:
        """The URL with the pool that the command is about."""
        if not self.speaks_to_metaserver:
            return self.url
        return urlunsplit(self._parts._replace(path=f"/{self.pool}"))


def add_options(command: Command) -> Command:
    """The options of `Options`, on a command or group."""
    for option in (
        click.option("-o", "--output", type=click.Choice(OUTPUTS), help=OUTPUT_HELP),
        click.option("--pool", metavar="NAME", help="The pool, instead of the URL's."),
        click.option(
            "--token-file",
            metavar="FILE",
            type=click.Path(dir_okay=False),
            help="File with the metaserver's token [CACHEMESH_TOKEN_FILE, or the token itself in "
            "CACHEMESH_TOKEN]. There is no option for the token itself: `ps` would show it.",
        ),
        click.option(
            "--url", metavar="URL", help="cachemesh://HOST:PORT[,...]/POOL [CACHEMESH_URL]."
        ),
    ):
        command = option(command)
    return command


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command with the common options, handed over as a `Session` in the first place."""

    @add_options
    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        given = Options(**{f.name: kwargs.pop(f.name) for f in fields(Options)})
        outer = click.get_current_context().obj
        session = Session(given.over(cast(Options, outer) if outer else Options()))
        return command(session, *args, **kwargs)

    return wrapper
