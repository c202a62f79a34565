"""A metaserver that checks its pools every 0.1 s, with timeouts of 0.3 s."""

from __future__ import annotations

from functools import partial
from unittest.mock import patch

from metaserver import cli
from metaserver.process.config import Config

QUICK = partial(
    Config, status_interval=0.1, repair_interval=0.1, instance_timeout=0.3, sentinel_timeout=0.3
)

if __name__ == "__main__":
    with patch.object(cli, "Config", QUICK):
        cli.serve()
