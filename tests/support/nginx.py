"""nginx with a site of `deploy/nginx`, on the loopback."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cachemesh.local.ports import Ports
from tests.support.configured_servers import await_port, issue_certificate
from tests.support.metaserver_process import ROOT
from tests.support.needs import needs

SITE = ROOT / "deploy" / "nginx" / "cachemesh-dashboard.conf"


class NginxSite:
    """The files of one nginx.

    Args:
        directory: of all files.
        dashboard: address of the dashboard, "host:port".

    Attributes:
        https, http: its ports.
        ca: path of the authority that its certificate is of.
    """

    def __init__(self, directory: Path, dashboard: str) -> None:
        ports = Ports()
        self.https, self.http = ports.take(), ports.take()
        self.ca, _ = issue_certificate(directory)
        self._directory = directory
        listens = {"443": self.https, "80": self.http}
        site = re.sub(
            r"listen (80|443)\b",
            lambda port: f"listen 127.0.0.1:{listens[port[1]]}",
            SITE.read_text(),
        )
        site = re.sub(r"^ *listen \[::\].*\n", "", site, flags=re.MULTILINE)
        site = site.replace("/etc/cachemesh/tls/dashboard.pem", str(directory / "cert.pem"))
        site = site.replace("/etc/cachemesh/tls/dashboard-key.pem", str(directory / "key.pem"))
        site = site.replace("127.0.0.1:7701", dashboard)
        temporary = "\n".join(
            f"{kind}_temp_path {directory}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (directory / "nginx.conf").write_text(
            f"daemon off;\npid {directory}/nginx.pid;\nerror_log {directory}/nginx.log;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{temporary}\n{site}}}\n"
        )

    def command(self, *options: str) -> list[str]:
        """Return the command that runs nginx with these files."""
        conf = str(self._directory / "nginx.conf")
        return [needs("nginx"), "-e", str(self._directory / "nginx.log"), "-c", conf, *options]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run nginx within the block."""
        process = subprocess.Popen(self.command())
        try:
            await_port(self.https)
            yield
        finally:
            process.terminate()
            process.wait()
