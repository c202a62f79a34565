"""Certificates of a local stack, made on the spot: a CA, one for all servers, one for clients.

The key of the CA is kept nowhere, so nobody can issue another certificate that the stack trusts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from cachemesh.core.errors import LocalStackError
from cachemesh.discovery.metaserver_tls import MetaserverTls
from cachemesh.local.binaries import PIP_LINE, RedisServer, speaks_tls

_NAMES = ("127.0.0.1", "::1", "localhost")  # that the servers' certificate is for
_CLIENT = "client.cachemesh.test"


@dataclass(frozen=True)
class StackTls:
    """The PEM files of a stack whose servers all speak TLS and ask for certificates.

    Attributes:
        directory: where the files are.
    """

    directory: Path

    @property
    def ca(self) -> str:
        """The certificate of the CA."""
        return str(self.directory / "ca.pem")

    @property
    def server(self) -> tuple[str, str]:
        """The certificate of the servers, and its key."""
        return str(self.directory / "server.pem"), str(self.directory / "server.key")

    @property
    def client(self) -> tuple[str, str]:
        """The certificate of clients, and its key."""
        return str(self.directory / "client.pem"), str(self.directory / "client.key")

    @property
    def metaserver(self) -> MetaserverTls:
        """The files for connections to metaservers."""
        return MetaserverTls(self.ca, *self.client)

    @property
    def redis_options(self) -> dict[str, Any]:
        """The options of redis-py for connections to instances and Sentinels."""
        certfile, keyfile = self.client
        files = {"ssl_ca_certs": self.ca, "ssl_certfile": certfile, "ssl_keyfile": keyfile}
        return {"ssl": True, **files}

    def metaserver_words(self) -> Sequence[str]:
        """Return the options of a metaserver: what it serves, and what it connects with."""
        (certificate, key), (certfile, keyfile) = self.server, self.client
        return (
            *("--tls-cert-file", certificate, "--tls-key-file", key),
            *("--tls-client-ca-file", self.ca, "--redis-ssl", "--sentinel-ssl"),
            *("--ssl-ca-certs", self.ca, "--ssl-certfile", certfile, "--ssl-keyfile", keyfile),
        )

    def dashboard_words(self) -> Sequence[str]:
        """Return the options of a dashboard: a browser needs no certificate."""
        certificate, key = self.server
        return (
            *("--tls-cert-file", certificate, "--tls-key-file", key),
            *("--metaserver-ca-file", self.ca, "--metaserver-cert-files", *self.client),
        )

    def query(self, *, metaservers: bool) -> str:
        """Return the query string of the pool's URL.

        Args:
            metaservers: whether the URL names metaservers, not Sentinels alone.
        """
        options = {**self.redis_options, "ssl": "true", "sentinel_ssl": "true"}
        if metaservers:
            certfile, keyfile = self.client
            options |= {
                "metaserver_ca_file": self.ca,
                "metaserver_cert_file": certfile,
                "metaserver_key_file": keyfile,
            }
        return urlencode(options, safe="/", quote_via=quote)

    def issue(self) -> None:
        """Make the CA and the certificates, and write them.

        Raises:
            LocalStackError: trustme is not installed.
        """
        try:
            import trustme  # of the extra `local` alone
        except ImportError as error:
            raise LocalStackError(
                f"trustme, which makes the certificates, is not installed; install it with: "
                f"{PIP_LINE}"
            ) from error
        authority = trustme.CA(organization_name="CacheMesh local stack")
        authority.cert_pem.write_to_path(self.ca)
        for names, (certificate, key) in ((_NAMES, self.server), ((_CLIENT,), self.client)):
            issued = authority.issue_cert(*names)
            Path(certificate).write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
            Path(key).touch(mode=0o600)
            issued.private_key_pem.write_to_path(key)


def redis_options_of(tls: StackTls | None) -> Mapping[str, Any]:
    """Return the options of redis-py for the instances and Sentinels of a stack."""
    return {} if tls is None else tls.redis_options


def metaserver_tls_of(tls: StackTls | None) -> MetaserverTls | None:
    """Return the files for connections to the metaservers and the dashboard of a stack."""
    return None if tls is None else tls.metaserver


def issue_for(directory: Path, server: RedisServer) -> StackTls:
    """Make the certificates of a stack in a directory, which is there.

    Raises:
        LocalStackError: the redis-server was built without TLS, or trustme is not installed.
    """
    if not speaks_tls(server.path):
        raise LocalStackError(
            f"{server} was built without TLS; install another redis-server, and name it by "
            "CACHEMESH_REDIS_SERVER, or leave --tls out"
        )
    tls = StackTls(directory)
    tls.issue()
    return tls
