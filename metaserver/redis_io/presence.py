"""Whether anything is at the address of an instance that an operator takes for gone.

An instance that answers, with whatever error, has its data. So has one that accepts connections and
does not answer: once it goes on, it carries out what it was asked for before.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Collection

import redis

from cachemesh.core.errors import CacheMeshError
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks, InstanceRejected
from metaserver.redis_io.bounded_connection import BoundedConnection, ask_all, reason_of

ANSWERS = "answers"
HANGS = "accepts connections, and does not answer"


def presences(
    addresses: Collection[str], config: Config, networks: AllowedNetworks
) -> dict[str, str]:
    """Return each address at which something may be -> what is known of it. All are asked at once.

    Nothing is there if it cannot be connected to, or closes the connection without a reply.
    """

    def presence(connection: BoundedConnection) -> str | None:
        try:
            connection.call("PING")
        except redis.TimeoutError:
            return HANGS if _accepts(connection.address, config, networks) else None
        except redis.ConnectionError as error:
            if type(error) is not redis.ConnectionError:
                return ANSWERS  # such as with LOADING or NOAUTH
            return None if _is_of_nobody(error) else f"cannot be asked ({reason_of(error)})"
        except redis.RedisError:
            return ANSWERS
        return ANSWERS

    timeout = config.instance_timeout
    asked = {
        address: BoundedConnection(address, networks, config.redis_auth, timeout)
        for address in addresses
    }
    found = ask_all(asked, presence, within=3 * timeout)
    for connection in asked.values():
        connection.close()
    told = {at: HANGS if isinstance(each, redis.RedisError) else each for at, each in found.items()}
    return {at: each for at, each in told.items() if each is not None}


def _is_of_nobody(error: redis.ConnectionError) -> bool:
    """Return whether a failure tells that nothing is at an address, and not that nobody may ask."""
    cause = error.__cause__
    if isinstance(cause, InstanceRejected):
        return cause.reason != "address-not-allowed"
    return not isinstance(cause, OSError) or cause.errno not in (errno.EMFILE, errno.ENFILE)


def _accepts(address: str, config: Config, networks: AllowedNetworks) -> bool:
    """Return whether a server, even one that is frozen, has a connection accepted."""
    with contextlib.suppress(OSError, CacheMeshError):
        networks.connect(address, timeout=config.instance_timeout).close()
        return True
    return False
