"""CacheMesh: an elastic Redis cache that apps reach directly, with no proxy in the data path."""

from cachemesh.client import CacheMesh
from cachemesh.core.errors import (
    CacheMeshError,
    ConfigurationError,
    CrossShardError,
    InvalidDocumentError,
    InvalidKeyError,
    LocalStackError,
    MasterNotFoundError,
    MetaserverError,
    MetaserverUnavailableError,
    PoolNotFoundError,
    SentinelUnavailableError,
    ShardTimeoutError,
    ShardUnavailableError,
    UnsupportedCommandError,
)

__all__ = [
    "CacheMesh",
    "CacheMeshError",
    "ConfigurationError",
    "CrossShardError",
    "InvalidDocumentError",
    "InvalidKeyError",
    "LocalStackError",
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
