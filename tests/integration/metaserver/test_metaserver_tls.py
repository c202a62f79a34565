"""The API over TLS, with certificates of clients too."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from cachemesh.core.errors import ConfigurationError, MetaserverUnavailableError, PoolNotFoundError
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.metaserver_tls import MetaserverTls
from cachemesh.discovery.url import parse_url
from cachemesh.local.ports import Ports
from tests.support.metaserver_process import environment
from tests.support.waiting import AT_MOST, until


@dataclass(frozen=True)
class Secure:
    address: str
    token_file: Path
    tls: MetaserverTls
    log: Path

    def client(self, tls: MetaserverTls, scheme: str = "https") -> MetaserverClient:
        token = self.token_file.read_text().strip()
        return MetaserverClient([f"{scheme}://{self.address}"], token, timeout=AT_MOST, tls=tls)


def write(authority: trustme.CA, directory: Path, name: str, *identities: str) -> tuple[Path, Path]:
    issued = authority.issue_cert(*identities)
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    return cert, key


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A metaserver that asks its clients for certificates, and a client's TLS that has one."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    cert, key = write(authority, directory, "server", "127.0.0.1")
    own = write(authority, directory, "client", "app.example")
    address, log = f"127.0.0.1:{Ports().take()}", directory / "log"
    argv = [
        *(sys.executable, "-m", "metaserver", "--listen", address),
        *("--db", str(directory / "meta.db"), "--token-file", str(directory / "token")),
        *("--tls-cert-file", str(cert), "--tls-key-file", str(key)),
        *("--tls-client-ca-file", str(directory / "ca.pem")),
    ]
    with log.open("wb") as out, subprocess.Popen(argv, stderr=out, env=environment()) as process:
        try:
            tls = MetaserverTls(str(directory / "ca.pem"), *map(str, own))
            found = Secure(address, directory / "token", tls, log)

            def serves() -> bool:
                assert process.poll() is None, log.read_text()
                with suppress(OSError, MetaserverUnavailableError):
                    return bool(found.client(tls).request("GET", "/readyz"))
                return False

            until(serves)
            yield found
        finally:
            process.terminate()
    assert "Traceback" not in log.read_text()


def test_calls_watches_and_changes_over_tls(secure: Secure) -> None:
    client = secure.client(secure.tls)
    assert client.request("GET", "/v1/pools") == {"pools": []}
    made = client.request("POST", "/v1/tokens", {"name": "app", "role": "read"})
    assert client.request("DELETE", f"/v1/tokens/{made['id']}") is None


def test_the_url_of_a_client(secure: Secure) -> None:
    tls = secure.tls
    options = {
        "token_file": str(secure.token_file),
        "metaserver_ca_file": tls.ca_file,
        "metaserver_cert_file": tls.cert_file,
        "metaserver_key_file": tls.key_file,
    }
    with pytest.raises(PoolNotFoundError):
        parse_url(f"cachemeshs://{secure.address}/cache", options).make_source().load()
    query = "&".join(f"{name}={value}" for name, value in options.items())
    done = subprocess.run(
        [str(Path(sys.executable).with_name("cachemesh")), "pool", "list", "-o", "json"],
        env={**environment(), "CACHEMESH_URL": f"cachemeshs://{secure.address}/?{query}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_who_does_not_trust_or_is_not_trusted_gets_nothing(secure: Secure) -> None:
    with pytest.raises(MetaserverUnavailableError, match=r"TLS: .*(self-signed|unable to get)"):
        secure.client(MetaserverTls()).request("GET", "/livez")
    with pytest.raises(MetaserverUnavailableError):
        secure.client(MetaserverTls(secure.tls.ca_file)).request("GET", "/livez")
    with pytest.raises(MetaserverUnavailableError):
        secure.client(secure.tls, "http").request("GET", "/livez")
    host, _, port = secure.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=AT_MOST) as silent:
        assert silent.recv(1) == b""  # no handshake in time
    assert secure.client(secure.tls).request("GET", "/livez")


def test_files_that_cannot_be_used(secure: Secure, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        MetaserverTls("/nowhere.pem").context()
    with pytest.raises(ConfigurationError, match="together"):
        MetaserverTls(secure.tls.ca_file, secure.tls.cert_file).context()
    with pytest.raises(ConfigurationError, match="cachemeshs:// alone"):
        parse_url("cachemesh://h/cache", {"metaserver_ca_file": "x"})
    done = subprocess.run(
        [
            *(sys.executable, "-m", "metaserver", "--db", str(tmp_path / "meta.db")),
            *("--tls-cert-file", str(secure.log), "--tls-key-file", str(secure.log)),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert str(secure.log) in done.stderr
    assert "Traceback" not in done.stderr
