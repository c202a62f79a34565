"""The settings of a dashboard process."""

from __future__ import annotations

from dataclasses import dataclass

from cachemesh.discovery.metaserver_tls import MetaserverTls


@dataclass(frozen=True)
class DashboardConfig:
    """The settings of one dashboard process.

    Attributes:
        metaservers: `http://host:port` addresses, tried in order.
        cookie_name: of the session cookie. The name differs per port, because browsers send a
            host's cookies to all its ports: dashboards on one host would sign each other out.
        tls: for metaservers at `https://`.
        url_prefix: the path below which browsers reach it, such as `/cachemesh`; "": all of a host.
        forwarded_prefix: a reverse proxy tells that path by X-Forwarded-Prefix.
        idle_seconds: after which an unused session ends.
        read_timeout: seconds for a request that reads.
        change_timeout: seconds for a change; a failover takes up to 25, and more to be undone.
    """

    metaservers: tuple[str, ...]
    cookie_name: str = "cachemesh_dashboard"
    tls: MetaserverTls | None = None
    url_prefix: str = ""
    forwarded_prefix: bool = False
    idle_seconds: float = 3600.0
    read_timeout: float = 5.0
    change_timeout: float = 60.0
