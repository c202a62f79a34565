"""What operators do to a deployment of canaries: the API, the CLI, the dashboard."""

from __future__ import annotations

import http.client
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.support.canary_site import IN_URL, SESSION, WRONG, Site
from tests.support.metaserver_process import Api
from tests.support.waiting import AT_MOST, until


def keep(site: Site, api: Api, method: str, path: str, body: Any = None, **options: Any) -> Any:
    """Make a call, keep its answer as evidence, and return what the answer says."""
    reply = api(method, path, body, **options)
    site.evidence.add(f"{method} {path}", f"{reply.status} {reply.headers} {reply.text}")
    assert reply.status < 500 or reply.status == 503, reply.text
    return reply.json


def drive_api(site: Site) -> None:
    api = site.api
    wrong = Api(site.metaserver, site.secret(WRONG))
    at = {name: f"127.0.0.1:{port}" for name, port in site.shards.items()}
    shards = [{"name": name, "master": at[name]} for name in ("cache-0", "cache-1")]
    pool = {"pool": "cache", "sentinels": [f"127.0.0.1:{site.sentinel}"], "shards": shards}
    keep(site, wrong, "POST", "/v1/pools", pool)
    for refused in ("127.0.0.1:1", "192.0.2.1:1", f"127.0.0.1:{site.sentinel}", "nonsense"):
        bad = {**pool, "shards": [{"name": "cache-0", "master": refused}]}
        keep(site, api, "POST", "/v1/pools", bad)
    made = api("POST", "/v1/pools", pool)
    assert made.status == 201, made.text
    site.evidence.add("POST /v1/pools", made.text)
    until(lambda: api("GET", "/v1/pools/cache/status").json.get("health") in ("ok", "degraded"))
    for name in ("reader", "other"):
        token = api("POST", "/v1/tokens", {"name": name, "role": "read"})  # given out here
        assert token.status == 201, token.text
        site.evidence.secrets[f"token {name}"] = token.json["token"]
        if name == "other":
            rotated = api("POST", f"/v1/tokens/{token.json['id']}/rotate", {"overlap": 60})
            assert rotated.status < 300, rotated.text
            site.evidence.secrets["rotated token"] = rotated.json["token"]
    reader = Api(site.metaserver, site.secret("token reader"))
    keep(site, reader, "DELETE", "/v1/pools/cache")
    keep(site, reader, "POST", "/v1/tokens", {"name": site.secret(WRONG), "role": "none"})
    keep(site, wrong, "GET", "/v1/pools")
    odd = {"Authorization": f"Basic {site.secret(WRONG)}"}
    keep(site, Api(site.metaserver), "GET", "/v1/pools", headers=odd)
    keep(site, api, "POST", "/v1/pools/cache/watch", raw=b"{")
    keep(site, api, "POST", "/v1/pools/cache/failover", {"shard": "cache-0"})
    keep(site, api, "POST", "/v1/pools/cache/shards/cache-0/failover", {}, timeout=90)
    keep(site, api, "POST", "/v1/pools/cache/shards", {"name": "spare", "master": at["spare"]})
    until(lambda: "spare" in api("GET", "/v1/pools/cache").text)
    for path in (
        *("/v1/pools", "/v1/pools/cache", "/v1/pools/cache/status", "/v1/pools/cache/shards"),
        *("/v1/pools/cache/clients", "/v1/pools/cache/convergence", "/v1/pools/cache/quality"),
        "/v1/pools/cache/sentinels",
        *("/v1/tokens", "/v1/events", "/v1/backup", "/v1/metaservers", "/metrics", "/leader"),
        *("/readyz", "/livez", "/openapi.json", "/v1/pools/cache/shards/cache-0"),
    ):
        keep(site, api, "GET", path)


def drive_cli(site: Site, tmp_path: Path) -> None:
    at = {"CACHEMESH_URL": site.url(), "CACHEMESH_TOKEN_FILE": site.path("token")}
    for words in (
        *(("pool", "list"), ("pool", "status"), ("shard", "list"), ("client", "list")),
        *(("event", "list"), ("token", "list"), ("key", "get", "k")),
        ("pool", "show"),
        ("shard", "remove", "spare", "--yes"),
    ):
        site.run(*words, secrets=at)
        if words[-1] != "--yes":
            site.run(*words, "-o", "json", secrets=at)
    site.run("doctor", secrets=at)
    wrong = {**at, "CACHEMESH_TOKEN": site.secret(WRONG)}
    del wrong["CACHEMESH_TOKEN_FILE"]
    site.run("pool", "list", secrets=wrong)
    site.run("key", "get", "k", secrets={**at, "CACHEMESH_URL": site.url(password="no")})
    site.run("pool", "list", secrets={"CACHEMESH_URL": f"cachemesh://u:{site.secret(IN_URL)}@h/p"})
    site.run("pool", "list", secrets={"CACHEMESH_URL": f"x://u:{site.secret(IN_URL)}@h/p"})
    site.run("pool", "list", secrets={**at, "CACHEMESH_URL": site.url().replace("/cache?", "?")})
    made = site.run("token", "create", "shown", "--role", "read", secrets=at, told=True)
    site.evidence.secrets["token shown"] = made.strip().splitlines()[0]
    kept = tmp_path / "kept"
    site.run("token", "create", "kept", "--role", "read", "--output-file", str(kept), secrets=at)
    site.evidence.secrets["token kept"] = kept.read_text().strip()
    backup = tmp_path / "backup.json"
    site.run("store", "backup", str(backup), secrets=at)
    site.evidence.add("the backup", backup.read_bytes())


def drive_dashboard(site: Site) -> None:
    cookies: dict[str, str] = {}

    def ask(
        method: str, path: str, form: dict[str, str] | None = None, *, told: bool = False
    ) -> str:
        connection = http.client.HTTPConnection(site.dashboard, timeout=AT_MOST)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, urlencode(form) if form else None, headers)
            reply = connection.getresponse()
            for cookie in reply.headers.get_all("Set-Cookie") or ():
                name, _, value = cookie.partition(";")[0].partition("=")
                cookies[name] = value
                del reply.headers["Set-Cookie"]
            page = reply.read().decode()
        finally:
            connection.close()
        if not told:
            site.evidence.add(f"dashboard {method} {path}", f"{reply.headers} {page}")
        return page

    def value_of(name: str, page: str) -> str:
        """Return what a hidden field of the page's last form holds."""
        found = re.findall(rf'name="{name}" value="([^"]+)"', page)
        assert found, page
        return str(found[-1])

    def sign_in(token: str) -> None:
        ask("POST", "/login", {"csrf": value_of("csrf", ask("GET", "/login")), "token": token})

    sign_in(site.secret(WRONG))
    sign_in(site.admin)
    site.evidence.secrets[SESSION] = next(
        value for name, value in cookies.items() if not name.endswith("_login")
    )
    assert "cache-0" in ask("GET", "/pools/cache")
    token = {"csrf": value_of("csrf", ask("GET", "/tokens/new")), "name": "paged", "role": "read"}
    token["key"] = value_of("key", ask("POST", "/tokens/new", {**token, "step": "preview"}))
    made = ask("POST", "/tokens/new", {**token, "step": "confirm"}, told=True)  # given out here
    shown = re.search(r"<code[^>]* data-once>([^<]+)</code>", made)
    assert shown is not None, made
    site.evidence.secrets["token of the dashboard"] = shown[1]
    assert "sent before" in ask("POST", "/tokens/new", {**token, "step": "confirm"})
    for path in ("/", "/session", "/pools/none", "/pools/cache/shards/add", "/nowhere", "/tokens"):
        ask("GET", path)
