"""What a dashboard process is told at its start."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DashboardConfig:
    """Settings of one dashboard process.

    `metaservers` are `http://host:port` addresses, tried in order. `cookie_name` differs per port:
    browsers send a host's cookies to all its ports, so two dashboards on one host would otherwise
    sign each other out. Times are in seconds.
    """

    metaservers: tuple[str, ...]
    cookie_name: str = "cachemesh_dashboard"
    idle_seconds: float = 3600.0
    read_timeout: float = 5.0
    change_timeout: float = 60.0  # a failover takes up to 25, and what it takes to undo it
