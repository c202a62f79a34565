"""CacheMesh: an elastic Redis cache that apps reach directly, with no proxy in the data path."""

import logging

from cachemesh.core.errors import (
    CacheMeshError,
    ConfigurationError,
    CrossShardError,
    InvalidCursorError,
    InvalidDocumentError,
    InvalidKeyError,
    LocalStackError,
    LoginRefusedError,
    MasterNotFoundError,
    MetaserverError,
    MetaserverUnavailableError,
    PoolNotFoundError,
    SentinelUnavailableError,
    ShardTimeoutError,
    ShardUnavailableError,
    UnsupportedCommandError,
)
from cachemesh.sync.client import CacheMesh

__all__ = [
    "CacheMesh",
    "CacheMeshError",
    "ConfigurationError",
    "CrossShardError",
    "InvalidCursorError",
    "InvalidDocumentError",
    "InvalidKeyError",
    "LocalStackError",
    "LoginRefusedError",
    "MasterNotFoundError",
    "MetaserverError",
    "MetaserverUnavailableError",
    "PoolNotFoundError",
    "SentinelUnavailableError",
    "ShardTimeoutError",
    "ShardUnavailableError",
    "UnsupportedCommandError",
    "__version__",
]

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # an app decides what it shows
