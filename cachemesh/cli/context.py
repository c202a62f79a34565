"""The context of one command: its common options, its pool, metaserver, token and client."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit, urlunsplit

from cachemesh.cli.context_file import Deployment, context_path, read_contexts
from cachemesh.cli.errors import CommandError, ExitCode
from cachemesh.cli.output import Output
from cachemesh.core.names import check_name
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.bearer_token import BearerToken, find_token
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.metaserver_tls import MetaserverTls
from cachemesh.discovery.sentinel_connection import SentinelOptions
from cachemesh.discovery.url import parse_url
from cachemesh.sync.client import CacheMesh

_FORM = "cachemesh://HOST:PORT[,HOST:PORT]/POOL"
_TIMEOUT_S = 30.0
"""Seconds for one request: for a change the metaserver asks many processes, and each may hang."""


@dataclass(frozen=True)
class CommonOptions:
    """The options that may stand before or after a command's name; None: not given."""

    url: str | None = None
    token_file: str | None = None
    pool: str | None = None
    output: Output | None = None
    context: str | None = None

    def over(self, outer: CommonOptions) -> CommonOptions:
        """Return these options, completed by those of ``outer``."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return CommonOptions(
            **{
                name: getattr(outer, name) if value is None else value
                for name, value in given.items()
            }
        )


@dataclass(frozen=True)
class CommandContext:
    """What one run of a command acts on, as its options and the environment say."""

    options: CommonOptions

    @property
    def output(self) -> Output:
        """How to print data."""
        return self.options.output or "table"

    @property
    def wide(self) -> bool:
        """Whether tables have all their columns, however narrow the terminal."""
        return self.output == "wide"

    @functools.cached_property
    def _deployment(self) -> Deployment:
        """Where --url, --context, CACHEMESH_URL, CACHEMESH_CONTEXT or the context in use leads.

        Raises:
            CommandError: none of them is given.
            ConfigurationError: there is no such context.
        """
        found = chosen_deployment(self.options, os.environ)
        if found is None:
            raise CommandError(
                "no URL",
                "neither --url nor CACHEMESH_URL is set, and no context is in use",
                f"set CACHEMESH_URL={_FORM}, or start a local stack: cachemesh up",
                ExitCode.USAGE,
            )
        return found

    @property
    def url(self) -> str:
        """The URL of what the command acts on. Raises as `_deployment`."""
        return self._deployment.url

    @functools.cached_property
    def _parts(self) -> SplitResult:
        url = self.url
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise CommandError(
                "URL", f"it cannot be read ({error})", f"write {_FORM}", ExitCode.USAGE
            ) from error
        if "@" in url.partition("?")[0]:
            raise CommandError(
                "URL",
                "it carries a user name or password before the host",
                "put the metaserver's token into a file and name it by --token-file",
                ExitCode.USAGE,
            )
        return parts

    @property
    def speaks_to_metaserver(self) -> bool:
        """Whether the URL names metaservers, not Sentinels or a file."""
        return self._parts.scheme in ("cachemesh", "cachemeshs")

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
        return metaservers_at(parts, self._token)

    @property
    def token(self) -> str | None:
        """The text of the token for the metaserver.

        Raises:
            ConfigurationError: the token file cannot be read, or holds no token.
        """
        return None if self._token is None else self._token.text

    @functools.cached_property
    def _token(self) -> BearerToken | None:
        """The token for the metaserver.

        It is from --token-file, else the URL, else the context, else the environment.

        Raises:
            ConfigurationError: the token file cannot be read, or holds no token.
        """
        if self.options.token_file is not None:
            return find_token(None, self.options.token_file)
        query = dict(parse_qsl(self._parts.query))
        file = query.get("token_file") or self._deployment.token_file
        return find_token(query.get("token"), file, os.environ)

    @property
    def pool_or_none(self) -> str | None:
        """The pool that --pool or the URL names, or None.

        Raises:
            InvalidDocumentError: the name is not valid.
        """
        name = self.options.pool
        if name is None and self.speaks_to_metaserver:
            name = unquote(self._parts.path.strip("/")) or None
        return None if name is None else check_name("pool", name)

    @property
    def pool(self) -> str:
        """The pool that --pool or the URL names.

        Raises:
            CommandError: neither names one.
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
        """Return the path of the pool's resource ``segments`` in the metaserver's API."""
        return "/v1/pools/" + "/".join(
            quote(segment, safe="") for segment in (self.pool, *segments)
        )

    def get(self, *segments: str) -> Any:
        """GET the pool's resource ``segments`` from the metaserver."""
        return self.metaserver.request("GET", self.path(*segments))

    def document(self) -> PoolDocument:
        """Load the pool's document from the metaserver, the Sentinels or the file of the URL.

        Raises:
            CacheMeshError, redis.ConnectionError: the document cannot be loaded.
        """
        if self.speaks_to_metaserver:
            return PoolDocument.from_dict(self.get())
        return parse_url(self.url, self._token_option).read_document()

    @property
    def sentinel_options(self) -> SentinelOptions:
        """The URL's options for connections to Sentinels."""
        return parse_url(self._client_url, {}).sentinel_options

    def client(self) -> CacheMesh:
        """Return a client of the pool; the caller closes it.

        Raises:
            ConfigurationError, CommandError: the URL, an option or the token file is not valid.
        """
        # Without a snapshot: an operator has to see it if nobody answers.
        return CacheMesh.from_url(self._client_url, **self._token_option, snapshot_dir="off")

    @property
    def _token_option(self) -> dict[str, str]:
        """The option with the token, where the URL names metaservers or finds them in ZooKeeper."""
        asks = self.speaks_to_metaserver or self._parts.scheme == "cachemesh+zk"
        return {"token": self.token} if asks and self.token is not None else {}

    @property
    def _client_url(self) -> str:
        """The URL with the pool that the command is about."""
        if not self.speaks_to_metaserver:
            return self.url
        return urlunsplit(self._parts._replace(path=f"/{self.pool}"))


def chosen_deployment(options: CommonOptions, environ: Mapping[str, str]) -> Deployment | None:
    """Return where a command acts: what is said to it counts more than the environment, and that
    more than the context in use. None: nothing is said.

    Raises:
        ConfigurationError: there is no such context, or the contexts cannot be read.
    """
    if options.url:
        return Deployment(options.url)
    if not options.context and (url := environ.get("CACHEMESH_URL")):
        return Deployment(url)
    name = options.context or environ.get("CACHEMESH_CONTEXT") or None
    return read_contexts(context_path(environ)).find(name)


def metaservers_at(url: SplitResult, token: BearerToken | None) -> MetaserverClient:
    """Return the metaservers that a URL names, cachemesh:// or, over TLS, cachemeshs://.

    Raises:
        ConfigurationError: an address or a TLS option is not valid.
    """
    addresses, tls = url.netloc.split(","), None
    if url.scheme == "cachemeshs":
        addresses = [f"https://{address}" for address in addresses]
        tls = MetaserverTls.from_options(dict(parse_qsl(url.query)))
    return MetaserverClient(addresses, token=token, timeout=_TIMEOUT_S, tls=tls)


def about_pool(context: CommandContext, name: str | None) -> CommandContext:
    """Return the context about the pool ``name``; None: about the same pool as ``context``."""
    return context if name is None else CommandContext(replace(context.options, pool=name))
