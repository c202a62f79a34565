"""The commands of the systemd units serve, with the directories that systemd would give them."""

from __future__ import annotations

import http.client
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from cachemesh.local.ports import Ports
from tests.support.configured_servers import await_port, issue_certificate
from tests.support.metaserver_process import environment
from tests.support.unit_files import CREDENTIALS, UNITS, command_line, environment_of
from tests.support.waiting import AT_MOST, until


class Machine:
    """Directories in place of those of a machine, with a certificate and passwords."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        self.credentials = directory / "credentials"
        self.tls = directory / "tls"
        for each in (self.state, self.credentials, self.tls):
            each.mkdir()
        self.ca, _ = issue_certificate(self.tls)
        (self.tls / "key.pem").rename(self.credentials / "tls-key.pem")
        for name in ("redis", "sentinel"):
            (self.credentials / f"{name}.password").write_text("secret\n")

    @contextmanager
    def running(self, name: str, module: str, **variables: str) -> Iterator[None]:
        """Run the command of a unit within the block."""
        words = command_line(
            UNITS / f"cachemesh-{name}.service",
            {
                **environment_of(UNITS / f"{name}.env"),
                CREDENTIALS: str(self.credentials),
                **variables,
            },
        )
        places = {"/var/lib/cachemesh": self.state, "/etc/cachemesh/tls": self.tls}
        for place, here in places.items():
            words = [word.replace(place, str(here)) for word in words]
        process = subprocess.Popen([sys.executable, "-m", module, *words[1:]], env=environment())
        try:
            await_port(int(variables["LISTEN"].rpartition(":")[2]))
            yield
        finally:
            process.terminate()
            assert process.wait(AT_MOST) == 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_units_serve_over_tls_and_find_each_other(machine: Machine) -> None:
    ports = Ports()
    api, page = (f"127.0.0.1:{ports.take()}" for _ in range(2))
    token = machine.state / "admin.token"
    with machine.running("metaserver", "metaserver", LISTEN=api):
        until(lambda: ready(api, machine.ca))
        assert token.stat().st_mode & 0o777 == 0o600
        with machine.running("dashboard", "dashboard", LISTEN=page, METASERVERS=f"https://{api}"):
            assert signs_in(page, token.read_text().strip())


def ready(address: str, ca: str) -> bool:
    """Return whether a metaserver with a certificate of this CA is ready."""
    context = ssl.create_default_context(cafile=ca)
    connection = http.client.HTTPSConnection(address, context=context, timeout=AT_MOST)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:  # it does not listen yet, or had no time for a handshake
        return False
    finally:
        connection.close()


def signs_in(address: str, token: str) -> bool:
    """Return whether a dashboard takes the token, which it has to ask a metaserver about."""
    connection = http.client.HTTPConnection(address, timeout=AT_MOST)
    try:
        connection.request("GET", "/login")
        reply = connection.getresponse()
        csrf = re.search(r'name="csrf" value="([^"]+)"', reply.read().decode())
        assert csrf is not None
        cookie = reply.headers["Set-Cookie"].partition(";")[0]
        form = urlencode({"csrf": csrf[1], "token": token})
        kind = "application/x-www-form-urlencoded"
        connection.request("POST", "/login", form, {"Cookie": cookie, "Content-Type": kind})
        return connection.getresponse().status == 303
    finally:
        connection.close()
