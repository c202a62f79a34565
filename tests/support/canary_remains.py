"""What a deployment of canaries leaves: logs, processes, texts of settings, znodes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cachemesh
from cachemesh.discovery.metaserver import MetaserverClient
from metaserver.process.config import (
    Config,
    RedisAuth,
    RedisTls,
    WebhookOptions,
    ZookeeperOptions,
)
from tests.support.canary_site import HOOK, KEY, OPS, SIGNS, ZOOKEEPER, Site
from tests.support.waiting import AT_MOST


@contextmanager
def everything_logged(site: Site) -> Iterator[None]:
    """Keep as evidence what all loggers of this process say, at any level."""
    root = logging.getLogger()
    before, lines = root.level, []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Keep(1)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s %(args)r"))
    root.addHandler(handler)
    root.setLevel(1)
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
        assert lines
        site.evidence.add("the app's log", "\n".join(lines))


def keep_processes(site: Site) -> None:
    """Keep the command lines and environments of all processes of the site, as `ps` has them."""
    ours = {process.pid: name for name, process in site.processes.items()}
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        with suppress(OSError, ValueError):
            status = (entry / "status").read_text()
            parent = re.search(r"^PPid:\s+(\d+)", status, re.MULTILINE)
            assert parent is not None
            name = ours.get(int(entry.name)) or ours.get(int(parent[1]))
            if name is None:
                continue
            site.evidence.add(f"command line of the {name}", (entry / "cmdline").read_bytes())
            variables = (entry / "environ").read_bytes()
            # A password by `env:NAME` is there, and so told in docs/api.md.
            for line in variables.split(b"\0"):
                if not line.startswith((b"OPS_PASSWORD=", b"KEY_PASSWORD=")):
                    site.evidence.add(f"environment of the {name}", line)


def show_settings(site: Site) -> None:
    tls = RedisTls(password=site.secret(KEY))
    auth = RedisAuth("ops", site.secret(OPS), tls)
    zookeeper = ZookeeperOptions("h:1", "/c", login=site.secret(ZOOKEEPER))
    hooks = WebhookOptions((f"http://h/{site.secret(HOOK)}",), site.secret(SIGNS))
    config = Config(
        Path("x"),
        redis_auth=auth,
        sentinel_auth=auth,
        zookeeper=zookeeper,
        event_webhooks=hooks,
    )
    site.evidence.add("the settings", f"{config!r} {config} {auth} {zookeeper!r} {zookeeper}")
    client = MetaserverClient(["h:1"], site.admin)
    site.evidence.add("a client of metaservers", f"{client!r} {client} {cachemesh!r}")


def keep_znodes(site: Site) -> None:
    from kazoo.client import KazooClient

    client = KazooClient(hosts=site.ensemble.hosts)
    client.start(timeout=AT_MOST)
    try:
        client.add_auth("digest", f"meta:{site.secret(ZOOKEEPER)}")
        waiting = ["/cachemesh"]
        while waiting:
            path = waiting.pop()
            site.evidence.add(f"znode {path}", client.get(path)[0])
            waiting += [f"{path}/{child}" for child in client.get_children(path)]
    finally:
        client.stop()
        client.close()
