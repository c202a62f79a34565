"""Logins to ZooKeeper and TLS, of metaservers and of clients; what is refused is told."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from cachemesh.core.errors import CacheMeshError, ConfigurationError, MetaserverUnavailableError
from cachemesh.discovery.zookeeper_options import zookeeper_access
from cachemesh.discovery.zookeeper_reader import ZookeeperReader
from cachemesh.local.ports import HOST, Ports
from metaserver.process.config import ZookeeperOptions
from metaserver.store import StorageError
from metaserver.store.zookeeper import ZookeeperStore
from tests.support.metaserver_process import Metaserver
from tests.support.store_records import create, event
from tests.support.waiting import until
from tests.support.zookeeper import Ensemble

PASSWORD = "Wo7-secret"
JAAS = f"""Server {{
  org.apache.zookeeper.server.auth.DigestLoginModule required user_mesh="{PASSWORD}";
}};
"""


@dataclass(frozen=True)
class Secured:
    """An ensemble with a TLS port that asks for certificates, and a user who logs in by SASL."""

    ensemble: Ensemble
    hosts: str
    ca: Path
    certificate: Path
    key: Path
    key_password: Path
    login: Path

    def options(self, **changes: Any) -> ZookeeperOptions:
        """Return the options of a store over TLS, by SASL."""
        tls = {
            "ca": str(self.ca),
            "certfile": str(self.certificate),
            "keyfile": str(self.key),
            "keyfile_password": "of-the-key",
            "check_hostname": True,
        }
        found = ZookeeperOptions(
            self.hosts, f"/{uuid.uuid4().hex}", login=f"mesh:{PASSWORD}", sasl=True, tls=tls
        )
        return replace(found, **changes)

    def reader(self, chroot: str, hosts: str | None = None, **changes: Any) -> ZookeeperReader:
        """Return a client's reader over TLS, by SASL."""
        own = {
            "zookeeper_auth_file": str(self.login),
            "zookeeper_auth_scheme": "sasl",
            "zookeeper_ssl": True,
        }
        ssl = {
            "ssl_ca_certs": str(self.ca),
            "ssl_certfile": str(self.certificate),
            "ssl_keyfile": str(self.key),
            "ssl_password": "of-the-key",
        }
        given = {**own, **ssl, **changes}
        return ZookeeperReader(zookeeper_access(hosts or self.hosts, chroot[1:], given, given))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    directory = tmp_path_factory.mktemp("secured")
    authority = trustme.CA()
    ca, certificate, key = (directory / name for name in ("ca.pem", "app.pem", "app.key"))
    authority.cert_pem.write_to_path(str(ca))
    own = authority.issue_cert("app")
    own.cert_chain_pems[0].write_to_path(str(certificate))
    key.write_bytes(
        _private_key(own).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"of-the-key"),
        )
    )
    server = authority.issue_cert(HOST)
    store = directory / "server.pem"
    store.write_bytes(
        _private_key(server).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + server.cert_chain_pems[0].bytes()
    )
    (directory / "jaas.conf").write_text(JAAS)
    (directory / "key-password").write_text("of-the-key\n")
    (directory / "login").write_text(f"mesh:{PASSWORD}\n")
    port = Ports().take()
    settings = [
        *(f"secureClientPort={port}", f"secureClientPortAddress={HOST}"),
        "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
        *(f"ssl.keyStore.location={store}", "ssl.keyStore.type=PEM"),
        *(f"ssl.trustStore.location={ca}", "ssl.trustStore.type=PEM"),
        "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
    ]
    jaas = f"-Djava.security.auth.login.config={directory / 'jaas.conf'}"
    with Ensemble(directory, 1, settings=settings, java_options=[jaas]) as ensemble:
        yield Secured(
            *(ensemble, f"{HOST}:{port}", ca, certificate, key),
            directory / "key-password",
            directory / "login",
        )


def _private_key(certificate: trustme.LeafCert) -> Any:
    return serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)


def test_a_metaserver_and_clients_by_sasl_over_tls(secured: Secured, tmp_path: Path) -> None:
    options = secured.options()
    store = ZookeeperStore(options)
    created = create(store)
    metaserver = Metaserver(
        tmp_path,
        store=[
            *("--zookeeper", f"{options.hosts}{options.chroot}"),
            *("--zookeeper-auth-file", str(secured.login), "--zookeeper-auth-scheme", "sasl"),
            *("--zookeeper-tls-ca-file", str(secured.ca)),
            *("--zookeeper-tls-cert-file", str(secured.certificate)),
            *("--zookeeper-tls-key-file", str(secured.key)),
            *("--zookeeper-tls-key-password-file", str(secured.key_password)),
        ],
    )
    reader = secured.reader(options.chroot)
    with metaserver as api:
        assert api("GET", "/v1/pools/cache").json["version"] == created.version
        until(lambda: len(reader.metaservers()) == 1)
        assert reader.document("cache") == created
    reader.close()
    secured.ensemble.servers[0].kill()
    until(lambda: not store._shared.session.connected)
    with pytest.raises(StorageError, match="not connected"):
        store.record_event(event())
    secured.ensemble.start()

    def writes() -> bool:
        try:
            return store.record_event(event("after")).action == "after"
        except StorageError:
            return False

    until(writes)  # though a login was broken off
    store.close()
    assert PASSWORD not in metaserver.log.read_text()
    assert PASSWORD not in repr(options) + str(options)


def test_another_login_is_refused(secured: Secured) -> None:
    options = secured.options()
    store = ZookeeperStore(options)
    create(store)
    for login, sasl in (("mesh:wrong", True), (f"mesh:{PASSWORD}", False), (None, False)):
        with pytest.raises(StorageError, match=r"access is refused.*who has made") as refused:
            ZookeeperStore(replace(options, login=login, sasl=sasl))
        assert PASSWORD not in str(refused.value)
    for changes in (
        {"zookeeper_auth_file": None, "zookeeper_auth": "mesh:wrong"},
        {"zookeeper_auth_scheme": "digest"},
    ):
        reader = secured.reader(options.chroot, **changes)
        with pytest.raises(ConfigurationError, match=r"access is refused.*zookeeper_auth_scheme"):
            reader.document("cache")
        reader.close()
    store.close()


def test_who_cannot_be_reached_is_told_with_the_reason(
    secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaserver.store.zookeeper_session.START", 2.0)
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(str(stranger))
    options = secured.options()
    untrusted = {**(options.tls or {}), "ca": str(stranger)}
    with socket.create_server((HOST, 0)) as mute:  # accepts, and never answers
        hung = f"{HOST}:{mute.getsockname()[1]}"
        for wrong, reason in (
            (replace(options, tls=untrusted), "certificate verify failed"),
            (replace(options, tls=None), "no answer within"),
            (replace(options, hosts=f"{HOST}:1"), "Connection refused"),
            (replace(options, hosts=hung, session_timeout=1.0), "time"),
        ):
            with pytest.raises(StorageError, match=rf"(?i){reason}.*most of its servers run"):
                ZookeeperStore(wrong)
        reader = secured.reader(options.chroot, ssl_ca_certs=str(stranger))
        with pytest.raises(MetaserverUnavailableError, match="certificate verify failed"):
            reader.metaservers()
        reader.close()
        monkeypatch.undo()
        store = ZookeeperStore(replace(options, hosts=f"{hung},{secured.hosts}"))
        store.close()


def test_what_is_not_there_or_of_something_else(secured: Secured) -> None:
    reader = secured.reader("/nothing")
    with pytest.raises(CacheMeshError, match="no deployment is there"):
        reader.metaservers()
    reader.close()
    for own in ({"zookeeper_auth_scheme": "kerberos"}, {"zookeeper_ssl": "perhaps"}):
        with pytest.raises(ConfigurationError, match="takes"):
            zookeeper_access("z:1", "x", own, {})
