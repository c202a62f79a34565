"""CacheMesh: an elastic Redis cache that apps reach directly, with no proxy in the data path.

- `sync`, `asyncio`: the clients, `CacheMesh` for threads and for tasks. `_client`: their base.
- `core`: decisions without I/O. `transport`: connections to instances. `discovery`: the topology.
- `cli`: the `cachemesh` command. `local`: a whole stack on this machine, also for pytest.
- `demo`: a stack under load, through a failover. `replay`: an app's accesses against a pool.
- `serving`: the web server of the metaserver and the dashboard.
"""

import logging

from cachemesh.core.errors import (
    CacheMeshError,
    ConfigurationError,
    CrossShardError,
    FencedError,
    InvalidCursorError,
    InvalidDocumentError,
    InvalidKeyError,
    LeaseLostError,
    LocalStackError,
    LoginRefusedError,
    MasterNotFoundError,
    MetaserverError,
    MetaserverUnavailableError,
    PoolNotFoundError,
    SentinelUnavailableError,
    ShardTimeoutError,
    ShardUnavailableError,
    SnapshotError,
    UnsupportedCommandError,
)
from cachemesh.sync.client import CacheMesh

__all__ = [
    "CacheMesh",
    "CacheMeshError",
    "ConfigurationError",
    "CrossShardError",
    "FencedError",
    "InvalidCursorError",
    "InvalidDocumentError",
    "InvalidKeyError",
    "LeaseLostError",
    "LocalStackError",
    "LoginRefusedError",
    "MasterNotFoundError",
    "MetaserverError",
    "MetaserverUnavailableError",
    "PoolNotFoundError",
    "SentinelUnavailableError",
    "ShardTimeoutError",
    "ShardUnavailableError",
    "SnapshotError",
    "UnsupportedCommandError",
    "__version__",
]

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # an app decides what it shows
