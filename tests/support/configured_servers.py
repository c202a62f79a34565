"""Redis servers and Sentinels started from a test's own configuration lines: TLS, passwords."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from cachemesh.local.ports import Ports
from tests.support.waiting import until


@dataclass
class Servers:
    """Redis servers and Sentinels, each with a configuration file of its own.

    Attributes:
        binary: path of redis-server.
        directory: of the configuration files.
        running: port -> process.
    """

    binary: str
    directory: Path
    running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: Ports = field(default_factory=Ports)

    def start(self, lines: list[str], *, sentinel: bool = False) -> int:
        """Start a server with these lines, in which PORT stands for its port; return the port."""
        port = self.ports.take()
        conf = self.directory / f"{port}.conf"
        text = [line.replace("PORT", str(port)) for line in lines]
        conf.write_text("\n".join([*text, f'dir "{self.directory}"', ""]))
        self.running[port] = subprocess.Popen(
            [self.binary, str(conf), *(["--sentinel"] if sentinel else [])],
            stdout=subprocess.DEVNULL,
        )
        return port

    def stop(self) -> None:
        """Kill all of the servers."""
        for process in self.running.values():
            process.kill()
            process.wait()


def await_port(port: int) -> None:
    """Wait until a server listens on the port of the loopback."""

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return False
        return True

    until(listens)


def issue_certificate(directory: Path) -> tuple[str, list[str]]:
    """Make an authority and a certificate for the loopback.

    Args:
        directory: where the files are written.

    Returns:
        The path of the authority's certificate, and the configuration lines of a server that uses
        the issued one.
    """
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    paths = {name: directory / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(str(paths["ca"]))
    certificate.private_key_pem.write_to_path(str(paths["key"]))
    paths["cert"].write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    lines = [
        f'tls-ca-cert-file "{paths["ca"]}"',
        f'tls-cert-file "{paths["cert"]}"',
        f'tls-key-file "{paths["key"]}"',
        "tls-auth-clients no",
    ]
    return str(paths["ca"]), lines
