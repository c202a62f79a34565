"""A real nginx with the site of `deploy/nginx`: cookies, headers, live updates of a dashboard."""

from __future__ import annotations

import http.client
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from cachemesh.local import LocalStack
from cachemesh.local.ports import Ports
from dashboard.security import HEADERS
from tests.support.configured_servers import await_port
from tests.support.metaserver_process import Api, environment
from tests.support.nginx import NginxSite
from tests.support.waiting import AT_MOST, until


@pytest.fixture(scope="module")
def dashboard(cachemesh_stack: LocalStack) -> Iterator[str]:
    port = Ports().take()
    (metaserver, *_) = cachemesh_stack.info["metaservers"]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "dashboard", "--listen", f"127.0.0.1:{port}"),
            *("--metaserver", f"http://{metaserver}"),
        ],
        env=environment(),
    )
    try:
        await_port(port)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(AT_MOST)


@pytest.fixture(scope="module")
def front(dashboard: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxSite]:
    made = NginxSite(tmp_path_factory.mktemp("nginx"), dashboard)
    with made.running():
        yield made


class Browser:
    """Requests to a site with the cookies that it has set, as a browser sends them."""

    def __init__(self, front: NginxSite) -> None:
        self.origin = f"https://127.0.0.1:{front.https}"
        self.cookies: dict[str, str] = {}
        self.flags: dict[str, str] = {}
        self._context = ssl.create_default_context(cafile=front.ca)
        self._port = front.https

    def open(
        self, method: str, path: str, form: dict[str, str] | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        """Return a reply whose body is not read yet."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._port, context=self._context, timeout=AT_MOST
        )
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if form is not None:
            sent |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.origin}
        body = None if form is None else urlencode(form)
        connection.request(method, path, body, {**sent, **headers})
        reply = connection.getresponse()
        for cookie in reply.headers.get_all("Set-Cookie", []):
            pair, _, flags = cookie.partition("; ")
            name, _, value = pair.partition("=")
            self.cookies[name], self.flags[name] = value, flags
        return reply


@pytest.fixture(scope="module")
def browser(front: NginxSite, cachemesh_stack: LocalStack) -> Browser:
    """A browser that is signed in."""
    browser = Browser(front)
    page = browser.open("GET", "/login").read().decode()
    csrf = re.search(r'name="csrf" value="([^"]+)"', page)
    assert csrf is not None
    reply = browser.open("POST", "/login", {"csrf": csrf[1], "token": cachemesh_stack.token})
    assert (reply.status, reply.headers["Location"]) == (303, "/")
    return browser


def test_nginx_accepts_the_site(front: NginxSite) -> None:
    done = subprocess.run(front.command("-t", "-q"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_cookies_go_over_tls_alone(browser: Browser) -> None:
    assert len(browser.flags) == 2, "of the session, and of the form"
    for flags in browser.flags.values():
        assert {"httponly", "secure", "samesite=strict"} <= set(flags.lower().split("; "))


def test_pages_have_all_security_headers_once(browser: Browser) -> None:
    reply = browser.open("GET", "/login")
    for name, value in HEADERS.items():
        assert reply.headers.get_all(name) == [value]
    assert reply.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_plain_http_is_sent_to_tls(front: NginxSite) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.http, timeout=AT_MOST)
    connection.request("GET", "/pools/cache?x=1", headers={"Host": "cache.example.com"})
    reply = connection.getresponse()
    assert reply.status == 308
    assert reply.headers["Location"] == "https://cache.example.com/pools/cache?x=1"
    connection.close()


def test_live_updates_arrive_as_they_are_sent(
    browser: Browser, cachemesh_stack: LocalStack
) -> None:
    pool = cachemesh_stack.info["pool"]
    (metaserver, *_) = cachemesh_stack.info["metaservers"]
    with browser.open("GET", f"/pools/{pool}/live") as live:
        assert live.headers["Content-Type"].startswith("text/event-stream")
        _next_event(live)
        api = Api(metaserver, cachemesh_stack.token)
        try:
            settings = f"/v1/pools/{pool}/settings"
            assert api("PATCH", settings, {"settings": {"poll_interval": 4.0}}).status == 200
            # The stream never ends: what a buffer held back would never come.
            until(lambda: "changed settings" in _next_event(live))
        finally:
            api("PATCH", settings, {"settings": {"poll_interval": None}})


def test_a_change_of_another_site_is_refused(browser: Browser) -> None:
    reply = browser.open("POST", "/logout", {"csrf": "x"}, Origin="https://evil.example")
    assert reply.status == 403


def _next_event(live: http.client.HTTPResponse) -> str:
    """Return the data of the next event of the page's parts."""
    for line in iter(live.readline, b""):
        if line.startswith(b"data: "):
            return line.decode()
    pytest.fail("the stream has ended")
