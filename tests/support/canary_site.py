"""A deployment with TLS and logins wherever there are such, each of whose secrets is a canary."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import trustme
from cryptography.hazmat.primitives import serialization

from cachemesh.local.binaries import find_redis_server
from cachemesh.local.ports import Ports
from tests.support.canaries import Evidence
from tests.support.cli_in_process import run_here
from tests.support.configured_servers import Servers, await_port
from tests.support.metaserver_process import Api, environment
from tests.support.server_capabilities import needs_tls
from tests.support.waiting import AT_MOST, until
from tests.support.zookeeper import Ensemble

OPS, APP, SENTINEL, KEY, ZOOKEEPER = "ops", "app", "Sentinel", "TLS key", "ZooKeeper"
WRONG, IN_URL, SESSION = "a wrong one", "in a URL", "dashboard session"
HOOK, SIGNS = "path of a webhook", "signature of events"


GIVEN = (OPS, APP, SENTINEL, KEY, ZOOKEEPER, WRONG, IN_URL, HOOK, SIGNS)
"""The secrets that a deployment is set up with, and those that are given where they are wrong."""


@dataclass
class Site:
    """A deployment on ZooKeeper, with TLS and logins wherever there are such.

    Attributes:
        shards: name -> port of the master.
    """

    directory: Path
    evidence: Evidence
    servers: Servers
    ensemble: Ensemble
    shards: dict[str, int] = field(default_factory=dict)
    sentinel: int = 0
    metaserver: str = ""
    dashboard: str = ""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def secret(self, name: str) -> str:
        return self.evidence.secrets[name]

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def write(self, name: str, text: str) -> str:
        path = Path(self.path(name))
        path.touch(mode=0o600)
        path.write_text(text)
        return str(path)

    @property
    def admin(self) -> str:
        return Path(self.path("token")).read_text().strip()

    @property
    def api(self) -> Api:
        return Api(self.metaserver, self.admin)

    @property
    def redis_options(self) -> dict[str, Any]:
        """An app's options for instances."""
        return {
            "username": "app",
            "password": self.secret(APP),
            "ssl": True,
            "ssl_ca_certs": self.path("ca.pem"),
            "ssl_certfile": self.path("client.pem"),
            "ssl_keyfile": self.path("client.key"),
            "ssl_password": self.secret(KEY),
            "sentinel_ssl": True,
            "sentinel_password": self.secret(SENTINEL),
        }

    def url(self, scheme: str = "cachemesh", **more: Any) -> str:
        """Return a pool's URL with all of an app's options, as an operator would write it."""
        at = {
            "cachemesh": self.metaserver,
            "cachemesh+sentinel": f"127.0.0.1:{self.sentinel}",
            "cachemesh+zk": f"{self.ensemble.hosts}/cachemesh",
        }[scheme]
        options = {**self.redis_options, "ssl": "true", "sentinel_ssl": "true", **more}
        return f"{scheme}://{at}/cache?{urlencode(options, quote_via=quote)}"

    def start(self, name: str, *words: str, secrets: dict[str, str] | None = None) -> None:
        """Start a program of this project, all of whose loggers write to a file."""
        with Path(self.path(f"{name}.log")).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "tests.support.at_debug", name.partition("-")[0], *words],
                stdout=log,
                stderr=log,
                env={**environment(), **(secrets or {})},
            )

    def run(self, *words: str, secrets: dict[str, str] | None = None, told: bool = False) -> str:
        """Run the CLI, keep what it says as evidence unless `told`, and return its stdout."""
        _, out, err = run_here(secrets or {}, *words)
        if not told:
            self.evidence.add(f"cachemesh {' '.join(words)}", out + err)
        return out

    def failed(self, source: str, error: BaseException) -> None:
        """Keep all that an app could log of an error."""
        text = "".join(traceback.format_exception(error))
        each: BaseException | None = error
        seen: list[BaseException] = []
        while each is not None and each not in seen:
            seen.append(each)
            text += f"{each!r}\n{each}\n{each.args!r}\n{vars(each)!r}\n"
            each = each.__cause__ or each.__context__
        self.evidence.add(f"error of {source}", text)


@contextmanager
def running_site(directory: Path, evidence: Evidence) -> Iterator[Site]:
    """Run a deployment in a directory, with the secrets of `evidence`."""
    binary = str(find_redis_server().path)
    needs_tls(binary)
    servers = Servers(binary, directory)
    with ExitStack() as running:
        running.callback(servers.stop)
        ensemble = Ensemble(directory / "zookeeper", 1)
        running.enter_context(ensemble)
        found = Site(directory, evidence, servers, ensemble)
        _issue(found)
        _start_instances(found)
        running.callback(_end, found)
        _start_control_plane(found)
        yield found


def _issue(site: Site) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(site.path("ca.pem"))
    for name, identity in (("server", "127.0.0.1"), ("client", "app.test")):
        issued = authority.issue_cert(identity)
        issued.cert_chain_pems[0].write_to_path(site.path(f"{name}.pem"))
        key = issued.private_key_pem.bytes()
        if name == "client":
            key = serialization.load_pem_private_key(key, None).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(site.secret(KEY).encode()),
            )
        Path(site.path(f"{name}.key")).write_bytes(key)


def _start_instances(site: Site) -> None:
    secure = [
        *("port 0", "tls-port PORT", "tls-replication yes", "tls-cluster yes", 'save ""'),
        *(f'tls-{kind}-file "{site.path(name)}"' for kind, name in (
            ("ca-cert", "ca.pem"), ("cert", "server.pem"), ("key", "server.key")
        )),
    ]  # fmt: skip
    logins = [
        f"user ops on >{site.secret(OPS)} ~* &* +@all",
        f"user app on >{site.secret(APP)} ~* &* +@all -@dangerous +role +keys +info "
        "+migrate +restore",
        "user default off",
        f"masterauth {site.secret(OPS)}",
        "masteruser ops",
    ]
    start = site.servers.start
    for name in ("cache-0", "cache-1", "spare"):
        site.shards[name] = start([*secure, *logins])
        await_port(site.shards[name])
    replica = start([*secure, *logins, f"replicaof 127.0.0.1 {site.shards['cache-0']}"])
    lines = [*(each for each in secure if "save" not in each)]
    lines.append(f"requirepass {site.secret(SENTINEL)}")
    site.sentinel = start(lines, sentinel=True)
    for port in (replica, site.sentinel):
        await_port(port)


def _start_control_plane(site: Site) -> None:
    ports = Ports()
    site.metaserver = f"127.0.0.1:{ports.take()}"
    site.dashboard = f"127.0.0.1:{ports.take()}"
    tls = (
        *("--redis-ssl", "--sentinel-ssl", "--ssl-ca-certs", site.path("ca.pem")),
        *("--ssl-certfile", site.path("client.pem"), "--ssl-keyfile", site.path("client.key")),
        *("--ssl-password", "env:KEY_PASSWORD"),
    )
    zookeeper = (
        *("--zookeeper", f"{site.ensemble.hosts}/cachemesh"),
        *("--zookeeper-auth-file", site.write("digest", f"meta:{site.secret(ZOOKEEPER)}")),
        *("--token-file", site.path("token"), "--allow-network", "127.0.0.0/8"),
    )
    logins = (
        *("--redis-username", "ops", "--redis-password", "env:OPS_PASSWORD"),
        "--sentinel-password",
        f"file:{site.write('sentinel-password', site.secret(SENTINEL))}",
    )
    secrets = {"OPS_PASSWORD": site.secret(OPS), "KEY_PASSWORD": site.secret(KEY)}
    nobody = f"http://127.0.0.1:{ports.take()}/{site.secret(HOOK)}"
    site.start(
        "metaserver",
        *("--listen", site.metaserver, *zookeeper, *logins, *tls),
        *("--event-webhook", f"file:{site.write('hook', nobody)}"),
        *("--event-webhook-secret-file", site.write("signs", site.secret(SIGNS))),
        secrets=secrets,
    )
    observing = f"cachemesh+sentinel://127.0.0.1:{site.sentinel}/cache"
    site.start(
        "metaserver-observer",
        *("--listen", f"127.0.0.1:{ports.take()}", "--observe", observing),
        *("--token-file", site.path("observer-token"), "--allow-network", "127.0.0.0/8"),
        *(*logins, *tls),
        secrets=secrets,
    )
    site.start("dashboard", "--listen", site.dashboard, "--metaserver", f"http://{site.metaserver}")

    def ready() -> bool:
        ended = [name for name, process in site.processes.items() if process.poll() is not None]
        assert not ended, Path(site.path(f"{ended[0]}.log")).read_text()[-3000:]
        with suppress(OSError, http.client.HTTPException):
            return site.api("GET", "/readyz").status == 200
        return False

    until(ready)
    site.evidence.secrets["admin token"] = site.admin


def _end(site: Site) -> None:
    for process in site.processes.values():
        process.send_signal(signal.SIGTERM)
    for process in site.processes.values():
        try:
            process.wait(AT_MOST)
        finally:
            process.kill()
