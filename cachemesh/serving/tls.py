"""TLS of a server: its certificate, and which clients it lets in."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path


class TlsFileError(Exception):
    """A certificate, key or CA file cannot be used; the text names the files and the reason."""


@dataclass(frozen=True)
class TlsFiles:
    """The PEM files of a server.

    Attributes:
        certificate: the server's certificate, with those between it and the CA.
        key: its private key.
        client_ca: certificates of CAs, one of which has to have signed each client's certificate;
            None: clients need none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return what connections are wrapped with.

        Raises:
            TlsFileError: a file cannot be read, or is not what it should be.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(self.certificate, self.key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise TlsFileError(
                f"TLS files {self.certificate} and {self.key}: {_reason(error)}; give a "
                "certificate and its unencrypted key, in PEM"
            ) from error
        if self.client_ca is None:
            return context
        try:
            context.load_verify_locations(self.client_ca)
        except (OSError, ValueError) as error:
            raise TlsFileError(
                f"TLS file {self.client_ca}: {_reason(error)}; give CA certificates in PEM"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not valid").lower().replace("_", " ")
    return (isinstance(error, OSError) and error.strerror) or str(error)
