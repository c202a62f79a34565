"""TLS to metaservers: whom to trust, and the certificate to show."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cachemesh.core.errors import ConfigurationError

TLS_OPTIONS = ("metaserver_ca_file", "metaserver_cert_file", "metaserver_key_file")


@dataclass(frozen=True)
class MetaserverTls:
    """The PEM files for TLS to metaservers.

    Attributes:
        ca_file: certificates of the CAs to trust; None: those that the system trusts.
        cert_file, key_file: the client's own certificate, for metaservers that ask for one.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> MetaserverTls:
        """Return what the options named in TLS_OPTIONS say; others are ignored."""
        return cls(*(options.get(name) for name in TLS_OPTIONS))

    def context(self) -> ssl.SSLContext:
        """Return what connections are wrapped with: certificates and host names are verified.

        Raises:
            ConfigurationError: a file cannot be used.
        """
        if (self.cert_file is None) != (self.key_file is None):
            raise ConfigurationError(
                "TLS to a metaserver takes metaserver_cert_file and metaserver_key_file together"
            )
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                # Without a password OpenSSL would ask for one at the terminal.
                context.load_cert_chain(self.cert_file, self.key_file, password=lambda: "")
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "invalid"
            files = ", ".join(
                name for name in (self.ca_file, self.cert_file, self.key_file) if name
            )
            raise ConfigurationError(
                f"TLS files for the metaserver ({files}): {reason}; they have to be PEM files "
                "that can be read"
            ) from error
        return context


def tls_of(options: Mapping[str, Any], scheme: str) -> MetaserverTls | None:
    """Return how to speak TLS to the metaservers of a URL; None for no files of one's own.

    In ZooKeeper a metaserver says whether it serves TLS; who gives files insists on that.

    Raises:
        ConfigurationError: a file cannot be used, or the scheme takes none.
    """
    given = any(options.get(name) is not None for name in TLS_OPTIONS)
    if scheme == "cachemeshs" or (scheme == "cachemesh+zk" and given):
        tls = MetaserverTls.from_options(options)
        tls.context()  # a file that cannot be used is an error now
        return tls
    for name in TLS_OPTIONS:
        if options.get(name) is not None:
            raise ConfigurationError(
                f"Option {name} is for cachemesh+zk:// and cachemeshs:// alone"
            )
    return None
